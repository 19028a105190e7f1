-- The decision, by the rule of domain/decision.py. `budget` NONE: unlimited; `flags` nil: there is no entitlement.
local UNLIMITED, WITHIN_BUDGET, WITH_OVERAGE = 3, 2, 4
local NOT_ENTITLED, BUDGET_EXCEEDED, INACTIVE, ARCHIVED, USER_DISABLED = 10, 11, 12, 13, 14

-- A newer version may have written an entitlement with another reset period: it gives no access here.
local LAST_RESET_PERIOD = 6

local function decide(disabled, archived, flags, budget, total)
  if disabled then return USER_DISABLED end
  if archived then return ARCHIVED end
  if not flags then return NOT_ENTITLED end
  if flags % (2 * ACTIVE) < ACTIVE then return INACTIVE end
  if budget == NONE then return UNLIMITED end
  if total <= budget then return WITHIN_BUDGET end
  if flags % (2 * OVERAGE) >= OVERAGE then return WITH_OVERAGE end
  return BUDGET_EXCEEDED
end
