-- A user's grants of one feature, in the order in which they are drawn from: priority, expiry, id.
local function read_grants(packed)
  local grants = {}
  for at = 1, #(packed or ''), GRANT_BYTES do
    local effective, expires, left, drawn = struct.unpack(GRANT, packed, at)
    grants[#grants + 1] = { effective = effective, expires = expires, left = left, drawn = drawn }
  end
  return grants
end

local function pack_grants(grants)
  local packed = {}
  for i, grant in ipairs(grants) do
    packed[i] = struct.pack(GRANT, grant.effective, grant.expires, grant.left, grant.drawn)
  end
  return table.concat(packed)
end

local function is_open(grant, now)
  return grant.effective <= now and (grant.expires == NONE or now < grant.expires)
end

-- What the grants that are open now still give together; NONE: unlimited.
local function left_in_all(grants, now)
  local sum = 0
  for _, grant in ipairs(grants) do
    if is_open(grant, now) then
      if grant.left == NONE then return NONE end
      sum = sum + grant.left
    end
  end
  return sum
end

-- What was drawn in the counter's period.
local function drawn_from_all(grants)
  local sum = 0
  for _, grant in ipairs(grants) do sum = sum + grant.drawn end
  return sum
end

-- Draws up to an amount, from the first grant on; returns how much that was.
local function draw(grants, amount, now)
  local drawn = 0
  for _, grant in ipairs(grants) do
    if is_open(grant, now) and drawn < amount then
      local take = amount - drawn
      if grant.left ~= NONE then
        take = math.min(take, grant.left)
        grant.left = grant.left - take
      end
      grant.drawn = grant.drawn + take
      drawn = drawn + take
    end
  end
  return drawn
end

-- Draws up to an amount for a period that is over: so that can't be given back in this one.
local function draw_for_past(grants, amount, now)
  local before = {}
  for i, grant in ipairs(grants) do before[i] = grant.drawn end
  local drawn = draw(grants, amount, now)
  for i, grant in ipairs(grants) do grant.drawn = before[i] end
  return drawn
end

-- Gives back up to an amount of what was drawn in this period, to the last grant first; returns how much that was.
local function give_back(grants, amount)
  local given = 0
  for i = #grants, 1, -1 do
    local grant = grants[i]
    local give = math.min(grant.drawn, amount - given)
    if grant.left ~= NONE then grant.left = grant.left + give end
    grant.drawn = grant.drawn - give
    given = given + give
  end
  return given
end

-- A new period: what was drawn stays drawn, and can't be given back any more.
local function close_period(grants)
  for _, grant in ipairs(grants) do grant.drawn = 0 end
end
