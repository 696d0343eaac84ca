-- read_usage(rule, currency, periods...) no-writes
--
-- Read the used amount of a limit in this partition.
--
-- Returns {code, now, '', [used]}; 'bounds' if the clock is outside `periods`.

local counter = read_counter(rule_named(rule), currency, '', periods)
if not counter then
    return {'bounds', at, ''}
end
return {'ok', at, '', {counter.used}}
