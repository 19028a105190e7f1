// How much of a budget is used.

interface Props {
  used: unknown;
  budget: unknown;
  unit: string;
}

export function Meter({ used, budget, unit }: Props) {
  if (typeof used !== "number" || typeof budget !== "number") return null;
  return (
    <p className="meter">
      <progress value={Math.min(used, budget)} max={budget} aria-label={unit} />
      <span>
        {used} of {budget} {unit}
      </span>
    </p>
  );
}
