-- Whether a flag, a power of two, is set.
local function has(flags, flag)
  return flags % (flag * 2) >= flag
end

-- Splits the field of a feature into the entitlement and the count, '' if nothing was counted.
local function split_feature(value)
  local flags, size = string.byte(value), ENTITLEMENT_BYTES
  if has(flags, ENDS) then size = size + MOMENT_BYTES end
  if has(flags, RUNS_OUT) then size = size + MOMENT_BYTES end
  return string.sub(value, 1, size), string.sub(value, size + 1)
end
