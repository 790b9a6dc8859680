import { useEffect } from "preact/hooks";
import { watchLive } from "./live.ts";
import { Announcer } from "./parts/announcer.tsx";
import { ConnectionNotice, Header } from "./parts/header.tsx";
import { NotForRooms } from "./parts/not-for-rooms.tsx";
import { route } from "./router.ts";
import type { Route } from "./routes.ts";
import { isLimited, session } from "./session.ts";
import { ClusterView } from "./views/cluster.tsx";
import { EventsView } from "./views/events.tsx";
import { ImagesView } from "./views/images.tsx";
import { MachineView } from "./views/machine.tsx";
import { OperationsView } from "./views/operations.tsx";
import { RoomView } from "./views/room.tsx";
import { RoomsView } from "./views/rooms.tsx";
import { SignInView } from "./views/sign-in.tsx";
import { say } from "./words.ts";

export function App() {
  if (session.value === "unknown") return <StartPage />;
  if (session.value === undefined || route.value.view === "sign-in") return <SignInView />;
  return <SignedIn />;
}

/** Until the server has said who we are: the frame, so that something is there at once. */
function StartPage() {
  return (
    <main class="start-page" aria-busy="true">
      <p>{say("page.loading")}</p>
    </main>
  );
}

function SignedIn() {
  useEffect(watchLive, []);
  return (
    <>
      <a class="skip-link" href="#content">
        {say("page.skip")}
      </a>
      <Header />
      <ConnectionNotice />
      <main id="content" tabIndex={-1}>
        {viewOf(route.value)}
      </main>
      <Announcer />
    </>
  );
}

function viewOf(at: Route) {
  switch (at.view) {
    case "rooms":
      return <RoomsView />;
    case "room":
      return <RoomView key={at.room} room={at.room} />;
    case "machine":
      return <MachineView key={at.machine} machine={at.machine} />;
    case "cluster":
      return isLimited.value ? <NotForRooms title={say("cluster.title")} /> : <ClusterView />;
    case "images":
      return isLimited.value ? <NotForRooms title={say("images.title")} /> : <ImagesView />;
    case "events":
      return <EventsView />;
    case "operations":
      return <OperationsView />;
    case "operation":
      return <OperationsView key={at.operation} operation={at.operation} />;
    case "sign-in":
    case "nowhere":
      return <h1>{say("page.nowhere")}</h1>;
  }
}
