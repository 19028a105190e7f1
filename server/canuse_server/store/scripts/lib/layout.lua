-- How the values of a user's hash are packed; store/layout.py reads and writes the same bytes. -1 stands for "none".
local META = '<BI8i8'          -- flags, revision, created_at_ms
local ENTITLEMENT = '<BBi8i8i8i8' -- flags, reset period, limit, period start, period end, valid until
local COUNTER = '<i8i8'        -- used, period start
local PAST_PERIOD = '<i8i8i8i8' -- period start, period end, used, budget
local PAST_PERIOD_BYTES = 32
local NONE = -1
local MAX_AMOUNT = 9007199254740991 -- 2^53 - 1, up to which numbers here are exact

local DISABLED = 1                          -- flag of META
local CONSUMABLE, ACTIVE, OVERAGE = 1, 2, 4 -- flags of ENTITLEMENT

-- Whether a flag, a power of two, is set.
local function has(flags, flag)
  return flags % (flag * 2) >= flag
end
