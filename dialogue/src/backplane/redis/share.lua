-- Puts events into a room's log behind those that others have put there, remembers their keys, and tells them.
-- KEYS: 1 log, and if any event has a key, 2 keys, 3 their order
-- ARGV: 1 the epoch's number, 2 its text or '', 3 number and 4 id of the newest event that the writer knows, 5 '1' if they
--       are kept as they are or not at all, 6 channel, 7 peer, 8 keys to keep,
--       9.. for each event: its bytes (number 0: told and not kept), their size for clients, the field of its key or '', and
--       of an anonymous user another field and the user: of a caller without a token (whose field begins with '0:'), that of
--       the id that was made for it; else, the one that the key has if it was used before the user had a token
-- Yields 0 if the log is another, or: epoch, its text or '', number, time and end of the newest event before these,
-- the events that the writer doesn't know, and for each of its own the value of a key that was used before, or ''; none of
-- those if nothing was kept.
local MISSED, MISSED_BYTES = 200, 262144
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
  local entries = last > after and redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', MISSED) or {newest}
  for _, entry in ipairs(entries) do
    local data, seq = entry[2][2], tonumber((string.match(entry[1], '%-(%d+)$')))
    if seq == after then
      if ARGV[4] ~= '' and string.sub(data, 27, 37) ~= ARGV[4] then return 0 end
    elseif seq == after + #missed + 1 and bytes < MISSED_BYTES then
      missed[#missed + 1] = data
      bytes = bytes + #data
    end
  end
end
local reply = {epoch, text, string.format('%.0f', last), string.format('%.0f', time), string.format('%.0f', finish), missed}
if exact and last > after then return reply end
local results, told, seq, remembered = {}, {}, last, false
if KEYS[2] then
  -- Keys of a log that is gone, and those of which the other half is, stand for nothing.
  local of = redis.call('HGET', KEYS[2], 'epoch')
  local whole = redis.call('HLEN', KEYS[2]) - (of and 1 or 0) == redis.call('ZCARD', KEYS[3])
  if not newest or (of and of ~= epoch) or not whole then redis.call('UNLINK', KEYS[2], KEYS[3]) end
end
local function remember(field, value, number)
  redis.call('HSET', KEYS[2], field, value, 'epoch', epoch)
  redis.call('ZADD', KEYS[3], number, field)
  remembered = true
end
-- The value of a key whose event is in the log, or was trimmed from it.
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
  local newcomer = string.sub(field, 1, 2) == '0:'
  local seen = used(field)
  if not seen and not newcomer then
    seen = used(other)
    if seen and string.match(seen, '^%d+ %S+ (.+) %d+$') ~= from then seen = nil end
  end
  if seen then
    if newcomer and other ~= '' then
      local number, id, time = string.match(seen, '^(%d+) (%S+) .-(%d+)$')
      remember(other, number .. ' ' .. id .. ' ' .. time, number)
    end
    results[#results + 1] = seen
    -- What comes after it is numbered as though it were new.
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
        local id = string.sub(data, 27, 37) .. (newcomer and ' ' .. from or '')
        remember(field, string.format('%.0f %s %.0f', seq, id, time), seq)
      end
    end
    results[#results + 1] = ''
    told[#told + 1] = struct.pack('>I4', #data) .. data
  end
end
if remembered then
  local over = redis.call('ZCARD', KEYS[3]) - ARGV[8]
  if over > 0 then
    local popped = redis.call('ZPOPMIN', KEYS[3], over)
    for i = 1, #popped, 2 do redis.call('HDEL', KEYS[2], popped[i]) end
  end
end
if #told > 0 then
  local before = newest and string.sub(newest[2][2], 27, 37) or string.rep('\0', 11)
  local head = 'E' .. ARGV[7] .. struct.pack('>I8', last) .. before .. struct.pack('>I2', #epoch) .. epoch
    .. struct.pack('>I2', #text) .. text
  redis.call('SPUBLISH', ARGV[6], head .. table.concat(told))
end
reply[7] = results
return reply
