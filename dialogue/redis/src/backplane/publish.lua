-- Appends a node's events to a room's log behind those of other nodes, stores their idempotency keys, and publishes
-- them.
-- KEYS: 1 log; and if any event has a key, 2 hash of keys, 3 their sorted set
-- ARGV: 1 number of the epoch, 2 its text or '', 3 number and 4 id or '' of the newest event that the node knows, 5
--       '1' if the events must be appended exactly as they are or not at all, 6 channel, 7 node, 8 maximum number of
--       keys, 9.. for each event: the encoded event (number 0: published and not logged), its size for clients, the
--       field of its key or '', another field under which a retry may be found or '', and the sender. For a caller
--       without a token, whose field begins with '0:', the other field is that of the user id that was made for it;
--       for another anonymous user, it is the one that the key has if it was used before the user had a token.
-- Returns 0 if the log has another epoch or has lost events. Otherwise: number of the epoch, its text or '', number,
-- time and end offset of the newest event before these, the events that the node doesn't know, and for each of its own
-- events the value of a key that was used before, or ''. The last list is missing if `exact` events were not appended.
local MAX_MISSED_EVENTS, MAX_MISSED_BYTES = 200, 262144
local after, exact = tonumber(ARGV[3]), ARGV[5] == '1'
local epoch, text, last, time, finish = ARGV[1], ARGV[2], 0, 0, 0
local function size(fields) return fields[3] == 's' and tonumber(fields[4]) or #fields[2] end
local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
if newest then
  local fields = newest[2]
  local number, seq = string.match(newest[1], '^(%d+)%-(%d+)$')
  if after > 0 and number ~= epoch then return 0 end
  epoch, last, text = number, tonumber(seq), ''
  for i = 1, #fields, 2 do if fields[i] == 'e' then text = fields[i + 1] end end
  time = struct.unpack('>I8', fields[2], 11)
  finish = struct.unpack('>I8', fields[2], 19) + size(fields)
end
if last < after then return 0 end
local missed, bytes = {}, 0
if last > after or ARGV[4] ~= '' then
  local from = string.format('%s-%.0f', epoch, after)
  local entries = last > after and redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', MAX_MISSED_EVENTS) or {newest}
  for _, entry in ipairs(entries) do
    local data, seq = entry[2][2], tonumber((string.match(entry[1], '%-(%d+)$')))
    if seq == after then
      if ARGV[4] ~= '' and string.sub(data, 27, 37) ~= ARGV[4] then return 0 end
    elseif seq == after + #missed + 1 and bytes < MAX_MISSED_BYTES then
      missed[#missed + 1] = data
      bytes = bytes + #data
    end
  end
end
local reply = {epoch, text, string.format('%.0f', last), string.format('%.0f', time), string.format('%.0f', finish), missed}
if exact and last > after then return reply end
local results, published, seq, remembered = {}, {}, last, false
if KEYS[2] then
  -- Keys of an earlier log, and keys of which the hash or the set has been lost, are invalid.
  local of = redis.call('HGET', KEYS[2], 'epoch')
  local intact = redis.call('HLEN', KEYS[2]) - (of and 1 or 0) == redis.call('ZCARD', KEYS[3])
  if not newest or (of and of ~= epoch) or not intact then redis.call('UNLINK', KEYS[2], KEYS[3]) end
end
local function remember(field, value, number)
  redis.call('HSET', KEYS[2], field, value, 'epoch', epoch)
  redis.call('ZADD', KEYS[3], number, field)
  remembered = true
end
-- Returns the value of a key whose event is in the log or was trimmed from it, otherwise nil.
local function used(field)
  local value = field ~= '' and redis.call('HGET', KEYS[2], field)
  if not value then return nil end
  local number, id = string.match(value, '^(%d+) (%S+) ')
  if tonumber(number) > last then return nil end
  local at = epoch .. '-' .. number
  local entry = redis.call('XRANGE', KEYS[1], at, at)[1]
  if entry and string.sub(entry[2][2], 27, 37) ~= id then return nil end
  return value
end
for i = 9, #ARGV, 5 do
  local data, field, other, from = ARGV[i], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]
  local unauthenticated = string.sub(field, 1, 2) == '0:'
  local duplicate = used(field)
  if not duplicate and not unauthenticated then
    duplicate = used(other)
    if duplicate and string.match(duplicate, '^%d+ %S+ (.+) %d+$') ~= from then duplicate = nil end
  end
  if duplicate then
    if unauthenticated and other ~= '' then
      local number, id, time = string.match(duplicate, '^(%d+) (%S+) .-(%d+)$')
      remember(other, number .. ' ' .. id .. ' ' .. time, number)
    end
    results[#results + 1] = duplicate
    -- The events behind it are numbered as if this one were appended, so they can't be appended exactly.
    if exact then break end
  else
    local own = struct.unpack('>I8', data, 3)
    if own > 0 then
      seq = seq + 1
      time = math.max(time, (struct.unpack('>I8', data, 11)))
      if not exact then
        data = string.sub(data, 1, 2) .. struct.pack('>I8I8I8', seq, time, finish) .. string.sub(data, 27)
      end
      finish = finish + ARGV[i + 1]
      local id = string.format('%s-%.0f', epoch, seq)
      if text == '' then
        redis.call('XADD', KEYS[1], id, 'd', data, 's', ARGV[i + 1])
      else
        redis.call('XADD', KEYS[1], id, 'd', data, 's', ARGV[i + 1], 'e', text)
      end
      if field ~= '' then
        local id = string.sub(data, 27, 37) .. (unauthenticated and ' ' .. from or '')
        remember(field, string.format('%.0f %s %.0f', seq, id, time), seq)
      end
    end
    results[#results + 1] = ''
    published[#published + 1] = struct.pack('>I4', #data) .. data
  end
end
if remembered then
  local excess = redis.call('ZCARD', KEYS[3]) - ARGV[8]
  if excess > 0 then
    local popped = redis.call('ZPOPMIN', KEYS[3], excess)
    for i = 1, #popped, 2 do redis.call('HDEL', KEYS[2], popped[i]) end
  end
end
if #published > 0 then
  local before = newest and string.sub(newest[2][2], 27, 37) or string.rep('\0', 11)
  local head = 'E' .. ARGV[7] .. struct.pack('>I8', last) .. before .. struct.pack('>I2', #epoch) .. epoch
    .. struct.pack('>I2', #text) .. text
  redis.call('SPUBLISH', ARGV[6], head .. table.concat(published))
end
reply[7] = results
return reply
