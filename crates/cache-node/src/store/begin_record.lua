-- Begins the record of writes under a prefix, if there is none: its first entry is a mark, so that a record which began
-- again since, after the store lost its data, can be told from it.
-- KEYS  1 record of writes, a stream
-- ARGV  1 who begins it   2 milliseconds to keep the record
-- Returns 1 begun, 0 there was one.
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('XADD', KEYS[1], '*', 'begun', ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
