-- rate_limits: how often a user may do something, counted over all of the user's payments.
--
-- A counter is a field of the user, '<ends_at> <count>': a window that begins with its first event. The arguments
-- codes_per_hour, confirms_per_minute and failures_per_day are the limits; without one ('') nothing is counted.

local MINUTE_MS = 60 * 1000
local HOUR_MS = 60 * MINUTE_MS
local DAY_MS = 24 * HOUR_MS

-- The window with one more event; false if there is no limit; false and the rest of the window if it is full.
local function increment_window(length_ms, window, most)
    if most == '' then
        return false
    end
    local left_ms = window and string.sub(window, 1, 13) - now or 0
    -- A clock that jumped back must not make a window longer than it ever was.
    if left_ms <= 0 or left_ms > length_ms then
        return int(now + length_ms) .. ' 1'
    end
    local count = tonumber(string.sub(window, 15))
    if count >= tonumber(most) then
        return false, left_ms
    end
    return string.sub(window, 1, 14) .. int(count + 1)
end

-- The details of a refusal if a window is full, or nil.
local function exceeded(name, left_ms)
    return left_ms and {'retry_after_ms', int(left_ms), 'too_many', name}
end

-- The details of a refusal while wrong codes lock a user out, or nil.
local function locked_out(failures, failures_per_day)
    local left_ms = failures and failures_per_day ~= '' and string.sub(failures, 1, 13) - now or 0
    if left_ms <= 0 or left_ms > DAY_MS or tonumber(string.sub(failures, 15)) < tonumber(failures_per_day) then
        return nil
    end
    return {'retry_after_ms', int(left_ms), 'too_many', 'failures', 'locked_until', string.sub(failures, 1, 13)}
end

-- Write one counter or two.
local function count(user_id, name, window, other, other_window)
    if window and other_window then
        redis.call('HSET', key('user', user_id), name, window, other, other_window)
    elseif window then
        redis.call('HSET', key('user', user_id), name, window)
    elseif other_window then
        redis.call('HSET', key('user', user_id), other, other_window)
    end
end
