// The manual clock of canuse: nobody has to wait for a reset. A real page has no such thing.
import { useBooleanFlagDetails } from "@openfeature/react-sdk";
import { useEffect, useState } from "react";

import { Moment } from "./blocked";
import { call } from "./service";

interface Time {
  time: string;
}

export function Clock() {
  const [time, setTime] = useState("");
  const resetsAt = useBooleanFlagDetails("messages", false).flagMetadata["resets_at"];

  useEffect(() => {
    void call<Time>("/api/clock").then((now) => setTime(now.time));
  }, []);

  if (!time) return null;
  return (
    <aside>
      <p>
        The clock of this example stands still at <Moment time={time} />.
      </p>
      <button
        className="quiet"
        disabled={typeof resetsAt !== "string"}
        onClick={() => void call<Time>("/api/clock", { time: resetsAt }).then((now) => setTime(now.time))}
      >
        Go to the reset
      </button>
    </aside>
  );
}
