-- Takes what connections say of their tokens' positions. A position is the number of the last entry of the log that the
-- client has received, a space, and a list of connections: the one that it belongs to, then earlier ones of the token,
-- each between commas: ",1.2,3.4,". What a connection says that it does not belong to, and does not follow upon, is
-- not heard.
--
-- KEYS  positions, one for each change
-- ARGV  for each: 1 list of connections  2 number, '': as it was  3 life in ms, 0: it is forgotten  4 '1': taken over
-- -> 'OK'
for at, key in ipairs(KEYS) do
    local connections, number, life, takes = unpack(ARGV, 4 * at - 3, 4 * at)
    local known = redis.call('GET', key)
    local owner = known and string.match(known, '^%d+ (,[%d.]+,)')
    if takes == '1' or not owner or string.find(connections, owner, 1, true) then
        if life == '0' then
            redis.call('DEL', key)
        elseif number ~= '' then
            redis.call('SET', key, number .. ' ' .. connections, 'PX', life)
        elseif known then
            redis.call('PEXPIRE', key, life)
        end
    end
end
return 'OK'
