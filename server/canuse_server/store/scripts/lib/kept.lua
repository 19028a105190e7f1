-- An outcome as it is stored under an event id: the number of the refused charge (8 bits), then for each charge the data from which
-- the answer is built again, 21 to 45 bytes; store/codec/user_values.py reads it.
--
-- A script that includes this declares pack_kept before, as for dedupe.
local KEPT = '<BI6I6I4I4'            -- flags, period start, period end (0: none), used, budget
local KEPT_RESERVED = '<BI6I6I4I4I4' -- then the units reserved
local KEPT_WIDE = '<BI6I6i8i8i8i8'   -- then also the applied delta, if it is not the requested one
-- The lowest four bits of the flags are the reason.
local KEPT_OVERAGE, KEPT_RECORDED, IS_RESERVED, IS_WIDE = 16, 32, 64, 128
local KEPT_NO_BUDGET = 4294967295 -- as the budget: unlimited

function pack_kept(reason, overage, start, finish, recorded, asked, used, applied, budget, reserved)
  local flags = reason
  if overage then flags = flags + KEPT_OVERAGE end
  if recorded then flags = flags + KEPT_RECORDED else asked = 0 end
  if applied ~= asked or used >= KEPT_NO_BUDGET or budget >= KEPT_NO_BUDGET or reserved >= KEPT_NO_BUDGET then
    return struct.pack(KEPT_WIDE, flags + IS_WIDE, start, finish, used, budget, reserved, applied)
  end
  if budget == NONE then budget = KEPT_NO_BUDGET end
  if reserved == 0 then return struct.pack(KEPT, flags, start, finish, used, budget) end
  return struct.pack(KEPT_RESERVED, flags + IS_RESERVED, start, finish, used, budget, reserved)
end
