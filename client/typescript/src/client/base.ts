// What all calls of a client need: its connection, and its answers while there is none.
import type { DescService } from "@bufbuild/protobuf";
import { type Client, createClient, createContextValues, type Transport } from "@connectrpc/connect";

import { EntitlementService } from "../gen/canuse/v1/entitlement_service_pb.js";
import { connect } from "./connection.js";
import type { CallOptions, Options } from "./options.js";
import { callOptions } from "./requests.js";
import { retryMsKey } from "./transport.js";
import { Fallbacks } from "./unavailable.js";

export class Base {
  readonly #transport: Transport;
  protected readonly fallbacks: Fallbacks;
  protected readonly calls: Client<typeof EntitlementService>;

  /** Prepare a client; the first call connects. Throws a CanuseError that names an option that cannot be. */
  constructor(options: Options = {}) {
    this.#transport = connect(options);
    this.fallbacks = new Fallbacks(options.unavailable ?? {}, options.unavailableDefault);
    this.calls = this.service(EntitlementService);
  }

  /**
   * Call any service of `canuse/v1` with this client's address, credentials, deadline and retries, and with its errors:
   * `canuse.service(CatalogService).listFeatures({})`. Requests and answers are messages.
   */
  service<S extends DescService>(service: S): Client<S> {
    return createClient(service, this.#transport);
  }

  /** The options of a call that the client may answer itself. */
  protected checkOptions(featureId: string, options: CallOptions) {
    const contextValues = createContextValues().set(retryMsKey, this.fallbacks.retryMs(featureId));
    return { ...callOptions(options), contextValues };
  }
}
