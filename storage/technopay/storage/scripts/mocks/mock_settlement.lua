-- mock_settlement(action, payment_id, errors, refund_id) allow-oom
--
-- The book of the mock settlement service: 'settle', 'decline', 'status', 'call_off' or 'reverse' a payment.
--
-- errors     how many times 'settle' fails before it succeeds
-- refund_id  id of the refund; after its reversal any other refund is 'declined'
--
-- A call-off of an unknown payment leaves a tombstone, so that the payment is never settled.
--
-- Returns {code, now, ''}: the state of the payment in the book, 'not_found' or 'error'.

local book = key('mock:settlement', payment_id)
local state, reversed_for = unpack(redis.call('HMGET', book, 'state', 'refund'))

local function become(new_state, ...)
    redis.call('HSET', book, 'state', new_state, 'at', at, ...)
    return {new_state, at, ''}
end

if action == 'settle' and not state then
    if redis.call('HINCRBY', book, 'calls', 1) <= tonumber(errors) then
        return {'error', at, ''}
    end
    return become('settled')
elseif action == 'decline' and not state then
    return become('declined')
elseif action == 'call_off' and not state then
    return become('called_off')
elseif action == 'reverse' and state == 'settled' then
    return become('reversed', 'refund', refund_id)
elseif action == 'reverse' and reversed_for and reversed_for ~= refund_id then
    return {'declined', at, ''}
end
return {state or 'not_found', at, ''}
