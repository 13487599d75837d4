-- Appends events to the logs of rooms if they follow the newest ones there, and remembers their keys.
-- KEYS: for each room its log; for one whose events have keys, behind that its keys and their order
-- ARGV: 1 keys of a room to keep, then for each room: 'k' if its events have keys or '', the epoch's number, its text or '',
--       number of the first event, how many events, the events, and with 'k' for each: its field and value, or '' twice
-- Yields for each room 1, or 0 if the events don't follow, or the error that there was.
local CONDITIONS = {OOM = true, MISCONF = true, NOREPLICAS = true, READONLY = true, NOPERM = true}
local keep, key, at, results = tonumber(ARGV[1]), 1, 2, {}
local function append(log, keys, order, at)
  local epoch, text, first, count = ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
  local newest = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
  if newest then
    local number, last = string.match(newest[1], '^(%d+)%-(%d+)$')
    if number ~= epoch or last + 1 ~= first then return 0 end
  elseif first ~= 1 then
    return 0
  end
  for i = 0, count - 1 do
    local id = string.format('%s-%.0f', epoch, first + i)
    if text == '' then
      redis.call('XADD', log, id, 'd', ARGV[at + 5 + i])
    else
      redis.call('XADD', log, id, 'd', ARGV[at + 5 + i], 'e', text)
    end
  end
  if not keys then return 1 end
  for i = 0, count - 1 do
    local field = ARGV[at + 5 + count + 2 * i]
    if field ~= '' then
      redis.call('HSET', keys, field, ARGV[at + 6 + count + 2 * i])
      redis.call('ZADD', order, first + i, field)
    end
  end
  local over = redis.call('ZCARD', order) - keep
  if over > 0 then
    local popped = redis.call('ZPOPMIN', order, over)
    for i = 1, #popped, 2 do redis.call('HDEL', keys, popped[i]) end
  end
  return 1
end
while at <= #ARGV do
  local has_keys, count = ARGV[at] == 'k', ARGV[at + 4]
  local done, result
  if has_keys then
    done, result = pcall(append, KEYS[key], KEYS[key + 1], KEYS[key + 2], at)
    key, at = key + 3, at + 5 + 3 * count
  else
    done, result = pcall(append, KEYS[key], nil, nil, at)
    key, at = key + 1, at + 5 + count
  end
  if not done then
    local text = type(result) == 'table' and result.err or tostring(result)
    -- What is wrong with all of Redis is nothing of this room.
    if CONDITIONS[string.match(text, '^-?(%u+)')] then return redis.error_reply(text) end
    result = redis.error_reply(text)
  end
  results[#results + 1] = result
end
return results
