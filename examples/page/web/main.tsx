// The page: what it shows follows what its user may use, by OpenFeature and by Kana's client.
import { OFREPWebProvider } from "@openfeature/ofrep-web-provider";
import { OpenFeature, OpenFeatureProvider, ProviderEvents } from "@openfeature/react-sdk";
import { useState } from "react";
import { createRoot } from "react-dom/client";

import { Clock } from "./clock";
import { Plan, Printing } from "./printing";
import { Messages } from "./messages";
import { forgetSession, getSession, type Session } from "./service";

function Page({ userId, manualClock }: Session) {
  const [sent, setSent] = useState<string[]>([]);
  return (
    <main>
      <header>
        <h1>Messages</h1>
        <p>
          Signed in as <b>{userId}</b> <Plan />
        </p>
      </header>
      <Messages sent={sent} onSent={setSent} />
      <Printing count={sent.length} />
      {manualClock && <Clock />}
    </main>
  );
}

async function start(page: HTMLElement) {
  const session = await getSession();
  // The provider asks again after an error, then with a new token.
  OpenFeature.addHandler(ProviderEvents.Stale, forgetSession);
  await OpenFeature.setProviderAndWait(
    new OFREPWebProvider({
      baseUrl: session.canuseUrl,
      headersFactory: async () => [["Authorization", `Bearer ${(await getSession()).token}`]],
      pollInterval: 1000,
      cacheMode: "disabled",
    }),
    { targetingKey: session.userId },
  );
  createRoot(page).render(
    <OpenFeatureProvider>
      <Page {...session} />
    </OpenFeatureProvider>,
  );
}

const page = document.getElementById("page")!;
start(page).catch((error) => {
  console.error(error);
  page.textContent = "Messages are not available at the moment. Please reload the page later.";
});
