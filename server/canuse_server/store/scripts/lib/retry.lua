-- When a refused use would be a yes if nothing but time changes, by the rule of domain/retry.py.

local NEVER = 1 -- reset period

-- Whether a subscription starts where an entitlement without an active one ends.
local function subscription_starts(account, moment)
  if account.reset_period ~= NEVER or account.finish ~= moment then return false end
  for _, grant in ipairs(account.grants) do
    if grant.effective == moment or grant.expires == moment then return false end
  end
  return true
end

-- Whether an account will allow at least `least` and at most `amount` at a later moment; nil: what applies then is not known.
-- `reserved`: whether what leases reserve counts.
local function allows_at(account, moment, reserved)
  local flags, granted, valid_until = account.flags, account.granted, account.valid_until
  if valid_until and (moment > valid_until or moment == valid_until and not has(flags, PREDICTABLE)) then return nil end
  local active, overage = has(flags, ACTIVE), has(flags, OVERAGE)
  if moment == valid_until and (granted or not active) then
    active, granted = subscription_starts(account, moment), false
    if not active then
      for _, grant in ipairs(account.grants) do granted = granted or is_open(grant, moment) end
      active, overage = granted, false
    end
  end
  if not active then return false end
  local used, drawn, held = account.used, drawn_from_all(account.grants), reserved and account.reserved or 0
  if account.finish and account.start < account.finish and moment >= account.finish then used, drawn, held = 0, 0, 0 end
  local part, left = account.limit, left_in_all(account.grants, moment)
  if granted then
    local borne = math.max(0, used - drawn)
    part = part == NONE and borne or math.min(part, borne)
  end
  if overage or part == NONE or left == NONE then return used + held + account.amount <= MAX_AMOUNT end
  return used + held + account.least <= math.min(part + drawn + left, MAX_AMOUNT)
end

-- Returns after what time all accounts will first allow their amounts, 0 where that is not known.
local function retry_after(accounts, now)
  local moments = { now }
  local function add(moment)
    if moment and moment > now then moments[#moments + 1] = moment end
  end
  for _, account in ipairs(accounts) do
    if not account.flags then return 0 end
    add(account.finish)
    add(account.valid_until)
    for _, grant in ipairs(account.grants) do add(grant.effective) end
  end
  table.sort(moments)
  for _, moment in ipairs(moments) do
    local free, allowed = true, true
    for _, account in ipairs(accounts) do
      local would = allows_at(account, moment, false)
      if would == nil then return 0 end
      free, allowed = free and would, allowed and allows_at(account, moment, true)
    end
    -- Leases may release what they reserve before.
    if free then return allowed and moment - now or 0 end
  end
  return 0
end
