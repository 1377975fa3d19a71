-- KEYS: highest token. ARGV: floor of tokens.
local highest = redis.call('GET', KEYS[1])
if not highest or tonumber(highest) < tonumber(ARGV[1]) then
  redis.call('SET', KEYS[1], ARGV[1])
end
return 1
