// Messages are shown by OpenFeature: the form is there while there is budget.
import { FeatureFlag, useBooleanFlagDetails } from "@openfeature/react-sdk";
import { type FormEvent, useEffect, useState } from "react";

import { Blocked } from "./blocked";
import { Meter } from "./meter";
import { call } from "./service";

export function Messages({ sent, onSent }: { sent: string[]; onSent: (messages: string[]) => void }) {
  const { value: allowed, flagMetadata } = useBooleanFlagDetails("messages", false);
  const [failure, setFailure] = useState("");

  useEffect(() => {
    if (allowed) setFailure("");
  }, [allowed]);

  async function send(text: string) {
    setFailure("");
    await call<string[]>("/api/messages", { text }).then(onSent, (error: Error) => setFailure(error.message));
  }

  return (
    <section aria-labelledby="messages">
      <h2 id="messages">Send a message</h2>
      <p className="hint">Shown by OpenFeature</p>
      <Meter used={flagMetadata["used"]} budget={flagMetadata["budget"]} unit="messages today" />
      <FeatureFlag
        flagKey="messages"
        matchValue={true}
        defaultValue={false}
        fallback={({ variant, flagMetadata }) => (
          <Blocked variant={variant} resetsAt={flagMetadata["resets_at"]} what="messages">
            <button className="quiet" onClick={() => send("Nobody reads this.")}>
              Send one anyway
            </button>
          </Blocked>
        )}
      >
        <Form onSend={send} />
      </FeatureFlag>
      {failure && <p role="alert">{failure}</p>}
      <ul>
        {sent.map((text, index) => (
          <li key={index}>{text}</li>
        ))}
      </ul>
    </section>
  );
}

function Form({ onSend }: { onSend: (text: string) => Promise<void> }) {
  const [text, setText] = useState("");
  const [sending, setSending] = useState(false);

  async function submit(event: FormEvent) {
    event.preventDefault();
    setSending(true);
    await onSend(text);
    setText("");
    setSending(false);
  }

  return (
    <form onSubmit={submit}>
      <input aria-label="Message" maxLength={500} required value={text} onChange={(event) => setText(event.target.value)} />
      <button disabled={sending}>Send</button>
    </form>
  );
}
