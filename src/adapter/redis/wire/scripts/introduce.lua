-- Stores a node's introduction, and returns those of all live nodes.
--
-- KEYS  1 nodes  2 introductions
-- ARGV  1 node  2 its introduction
-- -> for each live node: its id, its introduction, the ms until its lease ends
local nodes, who = unpack(KEYS)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', who, ARGV[1], ARGV[2])
redis.call('EXPIRE', who, 86400)
local live, known = {}, redis.call('HGETALL', who)
for at = 1, #known, 2 do
    local lease_end = tonumber(redis.call('ZSCORE', nodes, known[at]) or 0)
    if lease_end > now then
        live[#live + 1] = {known[at], known[at + 1], lease_end - now}
    else
        redis.call('HDEL', who, known[at])
    end
end
return live
