// The service behind the page.

export interface Session {
  userId: string;
  /** Reads what this user may use, and nothing else. */
  token: string;
  canuseUrl: string;
  manualClock: boolean;
}

let session: Promise<Session> | undefined;

/** The session of the user, with a token that is valid for an hour. */
export function getSession(): Promise<Session> {
  session ??= call<Session>("/api/session").catch((error) => {
    session = undefined;
    throw error;
  });
  return session;
}

/** Get a new token the next time, because the last one has expired. */
export function forgetSession() {
  session = undefined;
}

/** Call the service. An error has the sentence that the service gave. */
export async function call<T>(path: string, body?: unknown): Promise<T> {
  const response = await fetch(path, {
    method: body === undefined ? "GET" : "POST",
    // A request that the browser sends twice counts once.
    headers: body === undefined ? {} : { "Content-Type": "application/json", "Idempotency-Key": crypto.randomUUID() },
    body: body === undefined ? null : JSON.stringify(body),
  });
  const answer = await response.json();
  if (!response.ok) {
    throw new Error(`The service refused with ${response.status}: ${answer.detail?.message ?? response.statusText}`);
  }
  return answer;
}
