-- Appends events to the logs of rooms if they continue the log, and stores their idempotency keys.
-- KEYS: for each room its log; if its events have keys, then also its hash of keys and their sorted set
-- ARGV: 1 maximum number of keys of a room, then for each room: 'k' if its events have keys or '', the stream id of
--       the event before them or '' if they are the first, the stream id of the first, the epoch's text or '', the
--       number of events, the events, and with 'k' for each event: field and value of its key, or '' twice
-- Returns for each room 1, or 0 for a conflict, or an error.
local CONDITIONS = {OOM = true, MISCONF = true, NOREPLICAS = true, READONLY = true, NOPERM = true}
local call, keep, key, at, results = redis.call, tonumber(ARGV[1]), 1, 2, {}
local function add(log, id, event, text)
  if text == '' then
    call('XADD', log, id, 'd', event)
  else
    call('XADD', log, id, 'd', event, 'e', text)
  end
end
local function append(log, keys, order, at, count)
  local newest = call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
  if (newest and newest[1] or '') ~= ARGV[at + 1] then return 0 end
  local first, text = ARGV[at + 2], ARGV[at + 3]
  add(log, first, ARGV[at + 5], text)
  if count > 1 then
    -- Redis continues the numbers by itself.
    local next = string.match(first, '^%d+') .. '-*'
    for i = 1, count - 1 do add(log, next, ARGV[at + 5 + i], text) end
  end
  if not keys then return 1 end
  local epoch, of = string.match(first, '^%d+'), call('HGET', keys, 'epoch')
  local intact = call('HLEN', keys) - (of and 1 or 0) == call('ZCARD', order)
  -- Keys of an earlier log, and keys of which the hash or the set has been lost, are invalid.
  if not newest or (of and of ~= epoch) or not intact then call('UNLINK', keys, order) end
  for i = at + 5 + count, at + 3 + 3 * count, 2 do
    local field, value = ARGV[i], ARGV[i + 1]
    if field ~= '' then
      call('HSET', keys, field, value, 'epoch', epoch)
      call('ZADD', order, string.match(value, '^%d+'), field)
    end
  end
  local excess = call('ZCARD', order) - keep
  if excess > 0 then
    local popped = call('ZPOPMIN', order, excess)
    for i = 1, #popped, 2 do call('HDEL', keys, popped[i]) end
  end
  return 1
end
while at <= #ARGV do
  local has_keys, count = ARGV[at] == 'k', tonumber(ARGV[at + 4])
  local done, result
  if has_keys then
    done, result = pcall(append, KEYS[key], KEYS[key + 1], KEYS[key + 2], at, count)
    key, at = key + 3, at + 5 + 3 * count
  else
    done, result = pcall(append, KEYS[key], nil, nil, at, count)
    key, at = key + 1, at + 5 + count
  end
  if not done then
    local text = type(result) == 'table' and result.err or tostring(result)
    -- An error that concerns the whole server ends the call.
    if CONDITIONS[string.match(text, '^-?(%u+)')] then return redis.error_reply(text) end
    result = redis.error_reply(text)
  end
  results[#results + 1] = result
end
return results
