-- The outcome of a call, as it is returned; store/codec/user_values.py reads the same bytes. kept.lua packs it for an event id.
local function pack_outcome(refused, now)
  return struct.pack('<Bi8', refused, now)
end

local function pack_charge(reason, packed, ledger_id, used, applied, start, budget, reserved)
  return struct.pack('<BBBi8i8i8i8i8', reason, #packed, #ledger_id, used, applied, start, budget, reserved)
    .. packed .. ledger_id
end
