-- Reads a page of a room's events, at a cost that doesn't depend on the length of the log.
-- KEYS: 1 log
-- ARGV: 1 'oldest' or 'newest' first, 2 maximum number of events, 3 size in bytes at which the page ends, 4 after
--       number, 5 before number, 6 since time, 7 until time (each '' for none), 8 maximum number of events to examine,
--       9.. names of events (none: all)
-- Returns the events, then the number to continue from if there may be more.
local oldest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
if not oldest then return {{}} end
local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local epoch, first = string.match(oldest[1], '^(%d+)%-(%d+)$')
local last = string.match(newest[1], '%-(%d+)$')
first, last = tonumber(first), tonumber(last)
local function id(seq) return string.format('%s-%.0f', epoch, seq) end
local function time(entry) return struct.unpack('>I8', entry[2][2], 11) end
-- Returns the number of the first event whose time is at least `wanted`, by binary search: times never fall.
local function at(wanted)
  local low, high = first, last + 1
  while low < high do
    local middle = math.floor((low + high) / 2)
    local entry = redis.call('XRANGE', KEYS[1], id(middle), '+', 'COUNT', 1)[1]
    if time(entry) < wanted then low = middle + 1 else high = middle end
  end
  return low
end
local from, to = first, last
if ARGV[4] ~= '' then from = math.max(from, ARGV[4] + 1) end
if ARGV[5] ~= '' then to = math.min(to, ARGV[5] - 1) end
if ARGV[6] ~= '' then from = math.max(from, at(tonumber(ARGV[6]))) end
if ARGV[7] ~= '' then to = math.min(to, at(tonumber(ARGV[7])) - 1) end
local names
for i = 9, #ARGV do
  names = names or {}
  names[ARGV[i]] = true
end
local function wanted(data)
  if not names then return true end
  local length = struct.unpack('>I4', data, 38)
  return names[string.sub(data, 42, 41 + length)]
end
local limit, bytes, examine = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[8])
local found, size, last_examined = {}, 0, nil
while from <= to do
  local chunk
  if ARGV[1] == 'oldest' then
    chunk = redis.call('XRANGE', KEYS[1], id(from), id(to), 'COUNT', math.min(16, limit - #found))
  else
    chunk = redis.call('XREVRANGE', KEYS[1], id(to), id(from), 'COUNT', math.min(16, limit - #found))
  end
  if #chunk == 0 then break end
  for _, entry in ipairs(chunk) do
    local seq = tonumber(string.match(entry[1], '%-(%d+)$'))
    last_examined = seq
    if ARGV[1] == 'oldest' then from = seq + 1 else to = seq - 1 end
    examine = examine - 1
    local data = entry[2][2]
    if wanted(data) then
      found[#found + 1] = data
      size = size + #data
    end
    if #found >= limit or size >= bytes or examine <= 0 then
      if from > to then return {found} end
      return {found, string.format('%.0f', last_examined)}
    end
  end
end
return {found}
