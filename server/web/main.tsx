import { render } from "preact";
import { App } from "./app.tsx";
import { startRouter } from "./router.ts";
import { learnSession } from "./session.ts";
import { restoreSettings } from "./settings.ts";

startRouter();
const place = document.getElementById("app");
// The texts of the reader's language first: nobody wants to read half a second of another.
void restoreSettings().then(() => {
  if (place) render(<App />, place);
});
void learnSession();
