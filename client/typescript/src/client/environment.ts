// What a client takes from its surroundings in a browser and wherever else there is no environment: nothing.
// package.json has Node.js import `environment.node.ts` in its place, so a page cannot contain any of that.

/** What stands for settings that are not given. */
export interface Environment {
  /** The address of the server, if there is one to go by. */
  url?: string | undefined;
  apiKey?: string | undefined;
}

export const read = (): Environment => ({});
