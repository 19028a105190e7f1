// What an end user is told when the answer is no: the sentences of the Python clients.
import type { Answer, Consumption } from "./answers.js";
import { AccessDenied } from "./errors.js";

/**
 * Return an answer if it is a yes; otherwise throw AccessDenied, whose message can be shown to the end user.
 *
 * @param featureName The name of the feature in that message, best in the plural: `API calls`. Default: the feature's id
 * with spaces, `api calls`.
 */
export function throwIfDenied<A extends Answer>(answer: A, featureName?: string): A {
  if (answer.access) return answer;
  const name = featureName || answer.featureId.replace(/[-_]/g, " ") || "this feature";
  throw new AccessDenied(sentence(name, answer), answer);
}

function sentence(name: string, { reason, consumption }: Answer): string {
  switch (reason) {
    case "BUDGET_EXCEEDED":
      return budgetExceeded(name, consumption);
    case "NOT_ENTITLED":
      return `Your plan does not include ${name}.`;
    case "SUBSCRIPTION_INACTIVE":
      return `Your subscription with ${name} is not active.`;
    case "FEATURE_ARCHIVED":
      return `The feature ${name} is no longer available.`;
    case "USER_DISABLED":
      return "Your account is disabled.";
    case "STORE_UNAVAILABLE":
      return `We cannot check ${name} right now. Please try again in a moment.`;
    default:
      return `You cannot use ${name} at the moment.`;
  }
}

function budgetExceeded(name: string, consumption: Consumption | null): string {
  if (consumption === null || consumption.budget === null) return `You have used all your ${name} for now.`;
  if (consumption.budget === 0) return `Your plan includes no ${name}.`;
  const { used, budget, remaining, resetsAt } = consumption;
  if (!remaining && used < budget) return `Your last ${name} are in use right now. Please try again in a moment.`;
  const said = remaining
    ? `You have ${remaining} ${name} left, which is not enough.`
    : `You have used all ${budget} ${name}.`;
  return resetsAt === null ? said : `${said} You get more on ${shown(resetsAt)}.`;
}

function shown(moment: Date): string {
  const iso = moment.toISOString();
  return `${iso.slice(0, 10)} at ${iso.slice(11, 16)} UTC`;
}
