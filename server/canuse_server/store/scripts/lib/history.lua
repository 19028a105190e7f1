-- The past periods of a feature. They are kept for a number of days after their end. A week after it, those shorter than a day
-- become part of one sum for each day in which they started (UTC). What is due is done when a period is added.
--
-- Past periods of a feature, oldest first: how many bytes of them stand before the last one that is a week over, and can be
-- added to; then for each the kind of its length and flags, the widths of its numbers (3 bits each), its start; its length unless
-- the kind says it; then as many bytes as its widths say of used, budget, drawn from grants, the last epoch of its leases (0: it
-- had none), and of a sum the overage and the first epoch, which has the width of the last one.
local PAST_HEAD = '<I2'
local PAST_HEAD_BYTES = 2
local PAST_PERIOD = '<BI2I6'
local PAST_UNLIMITED, PAST_SUM = 16, 32 -- flags beside the kind of the length
local PAST_FIELD = '\1'            -- stands before the feature id; the layout of before, newest first, has the id alone:
-- period start, period end, used, budget, of used drawn from grants, epoch of its leases
local OLD_PAST_PERIOD = '<i8i8i8i8i8I4'
local OLD_PAST_PERIOD_BYTES = 44
local DAY_MS_OF_PAST, SUMMED_AFTER_MS = 86400000, 604800000
local MAX_PAST_BYTES = 32000 -- more than 400 days and a week of hours take; beyond it the oldest are added up whatever they are

-- What scripts do with past periods. Few calls need any of it, so that it is made by whoever does: each function that a script
-- makes costs as much as a call of one.
local function past_periods()
  -- Kinds of lengths, from 1; 0 is followed by a length of 4 bytes, and 15 by one of 6.
  local PAST_LENGTHS = {
    3600000, 86400000, 604800000, 2419200000, 2505600000, 2592000000, 2678400000, 31536000000, 31622400000,
  }

  local function width_of(number)
    local width = 0
    while number > 0 do number, width = math.floor(number / 256), width + 1 end
    return width
  end

  local function kind_of(length)
    for kind, known in ipairs(PAST_LENGTHS) do
      if known == length then return kind, '' end
    end
    if length < 4294967296 then return 0, struct.pack('<I4', length) end
    return 15, struct.pack('<I6', length)
  end

  -- What was used past the budget and the grants.
  local function overage_of(period)
    if period.overage then return period.overage end
    if period.budget == NONE then return 0 end
    return math.max(0, period.used - period.budget - period.drawn)
  end

  local function pack_past(period)
    local kind, length = kind_of(math.max(0, period.finish - period.start))
    if period.budget == NONE then kind = kind + PAST_UNLIMITED end
    if period.overage then kind = kind + PAST_SUM end
    local numbers = { period.used, math.max(0, period.budget), period.drawn, period.epoch, period.overage or 0 }
    local packed, widths = '', 0
    for i, number in ipairs(numbers) do
      local width = width_of(number)
      widths = widths + width * 8 ^ (i - 1)
      if width > 0 then packed = packed .. struct.pack('<I' .. width, number) end
    end
    if period.overage and period.epoch > 0 then
      packed = packed .. struct.pack('<I' .. width_of(period.epoch), period.first_epoch)
    end
    return struct.pack(PAST_PERIOD, kind, widths, period.start) .. length .. packed
  end

  -- Returns the period that begins at a byte, and where the next one does.
  local function unpack_past(past, at)
    local flags, widths, start, rest = struct.unpack(PAST_PERIOD, past, at)
    local function take(width)
      if width == 0 then return 0 end
      local number
      number, rest = struct.unpack('<I' .. width, past, rest)
      return number
    end
    local kind, period = flags % 16, { start = start }
    period.finish = start + (PAST_LENGTHS[kind] or take(kind == 0 and 4 or 6))
    local epoch_width = math.floor(widths / 512) % 8
    period.used, period.budget = take(widths % 8), take(math.floor(widths / 8) % 8)
    period.drawn, period.epoch = take(math.floor(widths / 64) % 8), take(epoch_width)
    period.first_epoch = period.epoch
    if has(flags, PAST_SUM) then
      period.overage = take(math.floor(widths / 4096) % 8)
      period.first_epoch = take(epoch_width)
    end
    if has(flags, PAST_UNLIMITED) then period.budget = NONE end
    return period, rest
  end

  local function sum_of(one, other)
    local unlimited = one.budget == NONE or other.budget == NONE
    return {
      start = math.min(one.start, other.start), finish = math.max(one.finish, other.finish),
      used = math.min(one.used + other.used, MAX_AMOUNT),
      budget = unlimited and NONE or math.min(one.budget + other.budget, MAX_AMOUNT),
      drawn = math.min(one.drawn + other.drawn, MAX_AMOUNT),
      overage = math.min(overage_of(one) + overage_of(other), MAX_AMOUNT),
      first_epoch = one.epoch == 0 and other.first_epoch or one.first_epoch,
      epoch = other.epoch == 0 and one.epoch or other.epoch,
    }
  end

  -- Whether two that follow each other are parts of the sum of one day.
  local function are_of_one_day(one, other)
    local function is_part(period) return period.overage or period.finish - period.start < DAY_MS_OF_PAST end
    local function day_of(period) return math.floor(period.start / DAY_MS_OF_PAST) end
    return is_part(one) and is_part(other) and day_of(one) == day_of(other)
  end

  -- Adds up what is a week over, from the last one on that can be added to.
  local function with_sums(past, now)
    local at = PAST_HEAD_BYTES + 1 + struct.unpack(PAST_HEAD, past)
    local done = { string.sub(past, PAST_HEAD_BYTES + 1, at - 1) }
    local last, following = unpack_past(past, at)
    if last.finish + SUMMED_AFTER_MS > now then return past end
    local packed_last = string.sub(past, at, following - 1)
    while following <= #past do
      local period, rest = unpack_past(past, following)
      if period.finish + SUMMED_AFTER_MS > now then break end
      if are_of_one_day(last, period) then
        last = sum_of(last, period)
        packed_last = pack_past(last)
      else
        done[#done + 1] = packed_last
        last, packed_last = period, string.sub(past, following, rest - 1)
      end
      following = rest
    end
    done = table.concat(done)
    return struct.pack(PAST_HEAD, #done) .. done .. packed_last .. string.sub(past, following)
  end

  -- Replaces what stands before a byte.
  local function with_beginning(past, beginning, following)
    local place = struct.unpack(PAST_HEAD, past)
    local moved = PAST_HEAD_BYTES + 1 + place - following
    return struct.pack(PAST_HEAD, moved < 0 and 0 or moved + #beginning) .. beginning .. string.sub(past, following)
  end

  -- Does what is due; '' stands for no past periods.
  local function tidied(past, kept_days, now)
    if past == '' then return past end
    past = with_sums(past, now)
    local kept_from = PAST_HEAD_BYTES + 1
    while kept_from <= #past do
      local first, following = unpack_past(past, kept_from)
      if first.finish + kept_days * DAY_MS_OF_PAST > now then break end
      kept_from = following
    end
    if kept_from > PAST_HEAD_BYTES + 1 then past = with_beginning(past, '', kept_from) end
    while #past > MAX_PAST_BYTES do
      local first, following = unpack_past(past, PAST_HEAD_BYTES + 1)
      local second, rest = unpack_past(past, following)
      past = with_beginning(past, pack_past(sum_of(first, second)), rest)
    end
    return #past > PAST_HEAD_BYTES and past or ''
  end

  -- Returns a feature's past periods, and whether some are in the layout of before.
  local function read_past(history_key, feature)
    local values = redis.call('HMGET', history_key, PAST_FIELD .. feature, feature)
    local past, old = values[1] or '', values[2]
    if not old then return past, false end
    local packed = {}
    for at = #old - OLD_PAST_PERIOD_BYTES + 1, 1, -OLD_PAST_PERIOD_BYTES do
      local start, finish, used, budget, drawn, epoch = struct.unpack(OLD_PAST_PERIOD, old, at)
      packed[#packed + 1] = pack_past({
        start = start, finish = finish, used = used, budget = budget, drawn = drawn, epoch = epoch,
      })
    end
    return struct.pack(PAST_HEAD, 0) .. table.concat(packed) .. string.sub(past, PAST_HEAD_BYTES + 1), true
  end

  local function write_past(history_key, feature, past, is_old)
    if past == '' then
      redis.call('HDEL', history_key, PAST_FIELD .. feature)
    else
      redis.call('HSET', history_key, PAST_FIELD .. feature, past)
    end
    if is_old then redis.call('HDEL', history_key, feature) end
  end

  -- Adds a period that is over. One in which nothing was used is not kept, unless leases were taken in it: they may be settled
  -- yet.
  local function with_past(past, kept_days, period, now)
    if period.used == 0 and period.epoch == 0 then return past end
    if past == '' then past = struct.pack(PAST_HEAD, 0) end
    return tidied(past .. pack_past(period), kept_days, now)
  end

  local function archive(history_key, feature, kept_days, period, now)
    local past, is_old = read_past(history_key, feature)
    local new = with_past(past, kept_days, period, now)
    if new ~= past then write_past(history_key, feature, new, is_old) end
  end

  -- Returns where the period stands in which the leases of an epoch were taken, the period, and where the next one stands;
  -- nil: it is not among them.
  local function find_past(past, epoch)
    local at = PAST_HEAD_BYTES + 1
    while at <= #past do
      local period, following = unpack_past(past, at)
      if period.first_epoch <= epoch and epoch <= period.epoch then return at, period, following end
      at = following
    end
  end

  -- Returns past periods with one replaced that stands from a byte up to another one. Its bytes may be more or fewer than before.
  local function replace_past(past, at, following, period)
    local packed, place = pack_past(period), struct.unpack(PAST_HEAD, past)
    if place > at - PAST_HEAD_BYTES - 1 then place = place + #packed - (following - at) end
    local before = string.sub(past, PAST_HEAD_BYTES + 1, at - 1)
    return struct.pack(PAST_HEAD, place) .. before .. packed .. string.sub(past, following)
  end

  return {
    read = read_past, write = write_past, tidied = tidied, with = with_past, archive = archive, find = find_past,
    replace = replace_past, overage_of = overage_of,
  }
end
