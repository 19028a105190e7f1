-- How a user stands with one feature: the current period, what was used in it and is set aside, and the budget.

-- What of a count the package bears: up to its limit, or only what it bore already where grants alone give access.
local function package_part(account)
  if not account.granted then return account.limit end
  local borne = math.max(0, account.used - drawn_from_all(account.grants))
  return account.limit == NONE and borne or math.min(account.limit, borne)
end

local function budget_of(account, now)
  local part, left = package_part(account), left_in_all(account.grants, now)
  if part == NONE or left == NONE then return NONE end
  return math.min(part + drawn_from_all(account.grants) + left, MAX_AMOUNT)
end

-- Whether the entitlements were worked out under a clock that ran ahead.
local function is_ahead(meta, now)
  return #meta > META_BYTES and struct.unpack(MOMENT, meta, META_BYTES + 1) > now + CLOCKS_DIFFER_MS
end

-- Reads the fields `f:`, `g:` and `r:` of a feature. It writes nothing; nil: the entitlement is stale.
local function read_account(feature, value, granted, reservation, now)
  local account = {
    feature = feature, now = now, packed = '', used = 0, start = 0, limit = 0, budget = 0, grants = {},
    epoch = 0, epoch_start = 0, epoch_units = 0, reserved = 0,
  }
  if reservation then
    account.epoch, account.epoch_start, account.epoch_units = struct.unpack(RESERVATION, reservation)
  end
  if not value then return account end
  local counter, flags, reset_period
  account.packed, counter = split_feature(value)
  flags, reset_period, account.limit, account.start = struct.unpack(ENTITLEMENT, account.packed)
  local last = #account.packed - MOMENT_BYTES + 1
  if has(flags, RUNS_OUT) then account.valid_until = struct.unpack(MOMENT, account.packed, last) end
  if account.valid_until and now >= account.valid_until then return nil end
  if account.start > now + CLOCKS_DIFFER_MS then return nil end
  if has(flags, NO_LIMIT) then account.limit = NONE end
  if reset_period > LAST_RESET_PERIOD and has(flags, ACTIVE) then flags = flags - ACTIVE end
  local length, finish
  account.start, length = current_start(reset_period, account.start, now)
  if length then
    finish = account.start + length
  elseif has(flags, ENDS) then
    finish = struct.unpack(MOMENT, account.packed, ENTITLEMENT_BYTES + 1)
  end
  account.flags, account.granted, account.grants = flags, has(flags, GRANTED), read_grants(granted)
  account.reset_period, account.finish = reset_period > LAST_RESET_PERIOD and 1 or reset_period, finish
  if counter ~= '' then
    local used, used_from = struct.unpack(COUNTER, counter)
    if finish and used_from > finish then return nil end
    if used_from >= account.start then
      -- A counter of the next period keeps it: a clock that steps back never resets a count twice. One of a later period,
      -- under a clock that ran ahead, has to be brought back first.
      account.used, account.start = used, used_from
      if length then account.finish = used_from + length end
    else
      account.rolled = {
        start = used_from, finish = length and used_from + length or account.start, used = used, budget = account.limit,
        drawn = drawn_from_all(account.grants), epoch = account.epoch_start == used_from and account.epoch or 0,
      }
      close_period(account.grants)
    end
  end
  -- A lease belongs to the period in which it was taken: one of a period that is over sets nothing aside any more.
  if reservation and account.epoch_start == account.start then account.reserved = account.epoch_units end
  account.budget = budget_of(account, now)
  return account
end

-- Takes over a new total: draws from the grants what goes past the package's part, or gives back to them.
local function count_up_to(account, total, now)
  if #account.grants > 0 then
    local package, drawn = package_part(account), drawn_from_all(account.grants)
    if total > account.used and package ~= NONE then
      draw(account.grants, total - package - drawn, now)
    elseif total < account.used then
      -- The last used is taken back first: what went past the budget, then what was drawn, then the package's own.
      local beyond = package == NONE and 0 or math.max(0, account.used - package - drawn)
      give_back(account.grants, math.max(0, account.used - total - beyond))
    end
  end
  account.used = total
  account.budget = budget_of(account, now)
end

-- Writes the count and the grants, and puts the count of a period that is over away.
local function save_account(user_key, history_key, kept_days, account)
  if account.rolled then
    past_periods().archive(history_key, account.feature, kept_days, account.rolled, account.now)
  end
  if #account.grants > 0 then
    redis.call('HSET', user_key, 'g:' .. account.feature, pack_grants(account.grants))
  end
  local counter = struct.pack(COUNTER, account.used, account.start)
  redis.call('HSET', user_key, 'f:' .. account.feature, account.packed .. counter)
end
