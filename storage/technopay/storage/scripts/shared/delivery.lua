-- delivery: the result of an attempt to deliver a message.
--
-- sent, dead   final
-- waiting      to be tried again
-- stale        no longer relevant
-- unsent       a code that its verifier does not send, which does not count as a code
-- left         a code of a key that only other processes have, which is no attempt

-- Take back one event of a counter.
local function uncount(user_id, name)
    local window = fields('user', user_id, name)
    local count = window and tonumber(string.sub(window, 15)) or 0
    if count > 0 then
        redis.call('HSET', key('user', user_id), name, string.sub(window, 1, 14) .. int(count - 1))
    end
end

-- The status of the message, how many attempts to add, and the delay until the agenda looks at it again.
local function attempt_result(fate, user_id, retry_ms)
    if fate == 'unsent' then
        pcall(uncount, user_id, 'codes') -- an unreadable user must not stop other messages
    end
    local status = ({unsent = 'stale', left = 'waiting'})[fate] or fate
    return status, fate == 'left' and 0 or 1, status == 'waiting' and retry_ms or MESSAGE_KEPT_MS
end
