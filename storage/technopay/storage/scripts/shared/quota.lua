-- quota: the home of a limit, which grants slices of it, see shared/slices.lua.
--
-- `quota:<rule>:<currency>` has the limit, its epoch (it grows with every change), and for each partition the last epoch
-- that it reported. `quota:<rule>:<currency>:<period>` has for each partition what was granted to it (`g:`), returned (`r:`) and used as last reported (`s:`), the sums `out` and `spent`,
-- `recalling`, the time of the recall under way, and `recalled_at`, that of the last one of everything.

-- The totals of a period are kept for that long.
local QUOTA_KEPT_MS = 35 * 24 * 3600 * 1000

-- How long a change has to reach all partitions before another process helps.
local SPREAD_MS = 5000

local function read_quota(name, period)
    return read('quota', name .. ':' .. period) or {out = '0', spent = '0', recalled_at = '0'}
end

-- Note what a partition reports; return its totals.
local function note_report(quota, partition, granted, returned, used)
    local function move(prefix, total, value, sign)
        local before = quota[prefix .. partition] or '0'
        quota[prefix .. partition] = value
        quota[total] = int(quota[total] + sign * (value - before))
    end
    -- A total that is larger here than reported stays. A grant that only the partition remembers is believed.
    move('g:', 'out', larger(quota['g:' .. partition], granted), 1)
    move('r:', 'out', larger(quota['r:' .. partition], returned), -1)
    move('s:', 'spent', used, 1)
end

local function write_quota(name, period, quota)
    local record = key('quota', name .. ':' .. period)
    if redis.call('EXISTS', record) == 0 then
        redis.call('ZADD', key('agenda'), int(now + QUOTA_KEPT_MS), 'quo_' .. name .. ':' .. period)
    end
    redis.call('HSET', record, unpack(flat(quota)))
end
