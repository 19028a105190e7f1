-- How the values of a user's hash are packed; store/codec/user_values.py reads and writes the same bytes. -1 stands for "none".
-- Times have 48 bits, amounts 56.
local META = '<BI4I6'             -- flags, revision, created at; a MOMENT may follow: the entitlements were worked out at
local META_BYTES = 11
local ENTITLEMENT = '<BBI7I6'     -- flags, reset period, limit, period start
local ENTITLEMENT_BYTES = 15
local MOMENT = '<I6'              -- period end if it ENDS, then valid until if it RUNS_OUT
local MOMENT_BYTES = 6
local COUNTER = '<I7I6'           -- used, period start; follows the entitlement if anything was counted
local GRANT = '<i8i8i8i8'         -- effective at, ends at, left (-1 unlimited), drawn in the counter's period
local GRANT_BYTES = 32
local RESERVATION = '<I4I6I7'     -- epoch, start of its period, units set aside by the leases of the epoch that are open
local LEASE = '<BI4I7I6'          -- state, epoch, amount, expires at; the feature id follows
local LEASE_BYTES = 18
-- Not in the store, but in arguments. How long things are kept: age of the ledger in ms, of past periods in days
local RETENTION = '<I6I4'
local RETENTION_BYTES = 10
-- An event id: keyed digest of the id, fingerprint of the content, and in ms its ttl and the longest ttl.
local EVENT = '<c12c6I6I6'
local FINGERPRINT_BYTES = 6
-- The field `d`: when each of the four hashes of event ids expires; 0: it was never used.
local MOMENTS = '<I6I6I6I6'
local NONE = -1
local MAX_AMOUNT = 9007199254740991 -- 2^53 - 1, up to which numbers here are exact
local CLOCKS_DIFFER_MS = 3600000    -- what is further ahead was made under a clock that ran ahead
local LONGEST_LEASE_MS = 604800000

local DISABLED = 1 -- flag of META
local OPEN, EXPIRED = 0, 1 -- states of a LEASE
-- flags of ENTITLEMENT
local CONSUMABLE, ACTIVE, OVERAGE, GRANTED, NO_LIMIT, ENDS, RUNS_OUT, PREDICTABLE = 1, 2, 4, 8, 16, 32, 64, 128
