-- behaviour: how often a user may do something, counted over all of the user's payments.
--
-- What is counted is a field of the user, '<ends_at> <count>': a window that begins with its first event and ends by
-- itself. The arguments codes_per_hour, confirms_per_minute and failures_per_day say how many there may be in one;
-- '' lifts the limit: then there is no window, and nothing is written.

local WINDOW_MS = {codes = 3600 * 1000, confirms = 60 * 1000, failures = 24 * 3600 * 1000}

-- The window in which an event would count now, `kept` or a new one; false without a limit.
local function open_window(name, kept, most)
    if most == '' then
        return false
    end
    local ends_at = kept and tonumber(string.sub(kept, 1, 13)) or now
    -- A clock that jumped back must not make a window longer than it ever was.
    if ends_at <= now or ends_at - now > WINDOW_MS[name] then
        return {name = name, most = tonumber(most), ends_at = now + WINDOW_MS[name], count = 0}
    end
    return {name = name, most = tonumber(most), ends_at = ends_at, count = tonumber(string.sub(kept, 15))}
end

-- Why one more event would be too many, as the details of a refusal: the full window that ends last. Else nil.
local function too_often(...)
    local full
    for _, window in ipairs({...}) do
        if window and window.count >= window.most and not (full and full.ends_at > window.ends_at) then
            full = window
        end
    end
    return full and {'retry_after_ms', int(full.ends_at - now), 'too_many', full.name}
end

-- Count one event in each of these windows.
local function count_events(user_id, ...)
    local counted = {}
    for _, window in ipairs({...}) do
        if window then
            counted[#counted + 1] = window.name
            counted[#counted + 1] = int(window.ends_at) .. ' ' .. int(window.count + 1)
        end
    end
    if counted[1] then
        redis.call('HSET', key('user', user_id), unpack(counted))
    end
end
