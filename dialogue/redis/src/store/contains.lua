-- Checks for events whether they belong to a log: the log has them or has trimmed them.
-- KEYS: 1 log
-- ARGV: 1 number of the expected epoch, or '' for any, then for each event its number and its id
-- Returns for each event 1 or 0; 0 for all if the log has another epoch.
local found = {}
local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local epoch, last = string.match(newest and newest[1] or '', '^(%d+)%-(%d+)$')
local same = newest and (ARGV[1] == '' or ARGV[1] == epoch)
for i = 2, #ARGV, 2 do
  local known = same and tonumber(ARGV[i]) <= tonumber(last)
  if known then
    local at = epoch .. '-' .. ARGV[i]
    local entry = redis.call('XRANGE', KEYS[1], at, at)[1]
    known = not entry or string.sub(entry[2][2], 27, 37) == ARGV[i + 1]
  end
  found[#found + 1] = known and 1 or 0
end
return found
