-- fate: what is kept of a message, by what became of it.
--
-- 'sent', 'waiting' for the next attempt, 'dead', or 'stale': there is nothing to tell any more. 'unsent' is a code that
-- its verifier does not send, so it does not count as one. 'left' is a code of a key that only other processes know:
-- that was no attempt.

-- Take back one event that was counted and did not happen.
local function uncount(user_id, name)
    local window = fields('user', user_id, name)
    local count = window and tonumber(string.sub(window, 15)) or 0
    if count > 0 then
        redis.call('HSET', key('user', user_id), name, string.sub(window, 1, 14) .. int(count - 1))
    end
end

-- The status to keep, how many attempts that was, and after how long the agenda looks at it again.
local function judge(fate, user_id, retry_ms)
    if fate == 'unsent' then
        pcall(uncount, user_id, 'codes') -- a user that cannot be read must not stop other messages
    end
    local status = ({unsent = 'stale', left = 'waiting'})[fate] or fate
    return status, fate == 'left' and 0 or 1, status == 'waiting' and retry_ms or MESSAGE_KEPT_MS
end
