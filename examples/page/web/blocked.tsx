// What a user reads who may not use a feature now: why, and until when.
import type { ReactNode } from "react";

interface Props {
  /** The reason that canuse gave. */
  variant: string | undefined;
  /** When the budget resets. */
  resetsAt: unknown;
  what: string;
  children?: ReactNode;
}

export function Blocked({ variant, resetsAt, what, children }: Props) {
  return (
    <div className="blocked" role="status">
      <p>
        {why(variant, what)}
        {variant === "BUDGET_EXCEEDED" && typeof resetsAt === "string" && (
          <>
            {" "}
            You get new ones on <Moment time={resetsAt} />.
          </>
        )}
      </p>
      {children}
    </div>
  );
}

function why(variant: string | undefined, what: string) {
  switch (variant) {
    case "BUDGET_EXCEEDED":
      return `You have used all the ${what} of your plan for today.`;
    case "NOT_ENTITLED":
      return `Your plan has no ${what}.`;
    case "SUBSCRIPTION_INACTIVE":
      return `Your plan is not active. Renew it for more ${what}.`;
    default:
      return `There are no ${what} at the moment.`;
  }
}

/** A time, in the language and the time zone of the reader. */
export function Moment({ time }: { time: string }) {
  const shown = new Date(time).toLocaleString(undefined, {
    day: "numeric",
    month: "long",
    hour: "2-digit",
    minute: "2-digit",
  });
  return <time dateTime={time}>{shown}</time>;
}
