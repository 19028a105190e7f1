// Printing is shown by Kana's client: the button is there while there is budget.
import { OpenFeature, ProviderEvents, useBooleanFlagDetails } from "@openfeature/react-sdk";
import { type Entitlement, KanaUserClient } from "@usekana/client-kana-js";
import { useEffect, useState } from "react";

import { Blocked } from "./blocked";
import { Meter } from "./meter";
import { call, getSession } from "./service";

/** Ask Kana's client now, and whenever OpenFeature says that something has changed. */
function useKana<T>(ask: (kana: KanaUserClient) => Promise<{ data?: T }>): T | undefined {
  const [answer, setAnswer] = useState<T>();
  useEffect(() => {
    let last = 0;
    async function refresh() {
      const number = ++last;
      const { canuseUrl, token } = await getSession();
      const { data } = await ask(new KanaUserClient({ endpoint: `${canuseUrl}/client/graphql`, userToken: token }));
      if (number === last && data) setAnswer(data);
    }
    void refresh();
    OpenFeature.addHandler(ProviderEvents.ConfigurationChanged, refresh);
    return () => {
      last = Infinity;
      OpenFeature.removeHandler(ProviderEvents.ConfigurationChanged, refresh);
    };
  }, []);
  return answer;
}

export function Plan() {
  const packages = useKana((kana) => kana.getSubscribedPackages()) ?? [];
  return packages.map(({ id, name }) => (
    <span className="plan" key={id}>
      {name}
    </span>
  ));
}

export function Printing({ count }: { count: number }) {
  const entitlement = useKana<Entitlement>((kana) => kana.canUseFeature("printed-pages"));
  // Kana's client says whether, and not until when.
  const { variant, flagMetadata } = useBooleanFlagDetails("printed-pages", false);
  const [outcome, setOutcome] = useState("");

  useEffect(() => {
    if (entitlement?.access) setOutcome("");
  }, [entitlement?.access]);

  async function print() {
    await call<{ pages: number }>("/api/prints", {}).then(
      ({ pages }) => setOutcome(pages === 1 ? "Printed 1 page." : `Printed ${pages} pages.`),
      (error: Error) => setOutcome(error.message),
    );
  }

  return (
    <section aria-labelledby="printing">
      <h2 id="printing">Print what you sent</h2>
      <p className="hint">Shown by Kana’s client</p>
      <Meter used={entitlement?.consumption?.used} budget={entitlement?.consumption?.budget} unit="pages today" />
      {entitlement?.access && (
        <button disabled={count === 0} onClick={print}>
          Print
        </button>
      )}
      {entitlement?.access === false && (
        <Blocked variant={variant} resetsAt={flagMetadata["resets_at"]} what="pages">
          <button className="quiet" onClick={print}>
            Print anyway
          </button>
        </Blocked>
      )}
      {outcome && <p role="alert">{outcome}</p>}
    </section>
  );
}
