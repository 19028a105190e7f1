local KEPT_NO_ENTITLEMENT = 281474976710655 -- as the period end: there is no entitlement

-- Returns a charge as it is stored under an event id. `asked` is the requested delta; `recorded`: whether it was recorded.
local function keep_charge(reason, packed, recorded, asked, used, applied, since, budget, reserved)
  if packed == '' then
    return pack_kept(reason, false, 0, KEPT_NO_ENTITLEMENT, recorded, asked, used, applied, budget, reserved)
  end
  -- The period of the count: a calendar period, or one that has rolled on from that of the entitlement.
  local flags, reset_period, _, start = struct.unpack(ENTITLEMENT, packed)
  local finish = 0
  if has(flags, ENDS) then
    finish = struct.unpack(MOMENT, packed, ENTITLEMENT_BYTES + 1)
    local rolled, length = current_start(reset_period, start, since)
    if length and since >= finish then start, finish = rolled, rolled + length end
  end
  return pack_kept(reason, has(flags, OVERAGE), start, finish, recorded, asked, used, applied, budget, reserved)
end
