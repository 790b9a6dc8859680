import { say } from "../words.ts";

export function ImagesView() {
  return <h1>{say("images.title")}</h1>;
}
