-- mock_settlement(action, payment_id, amount, errors, refund_id, refund_amount) allow-oom
--
-- The book of the mock settlement service: 'settle', 'decline', 'status', 'call_off' or 'reverse' a payment.
--
-- amount         amount of the payment
-- errors         how many times 'settle' fails before it succeeds
-- refund_id      id of the refund; each one is reversed once
-- refund_amount  its amount; it is 'declined' if less than that is left
--
-- A call-off of an unknown payment leaves a tombstone, so that the payment is never settled.
--
-- Returns {code, now, ''}: the state of the payment in the book, 'not_found' or 'error'.

local book = key('mock:settlement', payment_id)
local state, left, is_known = unpack(redis.call('HMGET', book, 'state', 'left', refund_id))

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
elseif action == 'reverse' and (state == 'settled' or left) and not is_known then
    left = int((left or amount) - refund_amount)
    if tonumber(left) < 0 then
        return {'declined', at, ''}
    end
    return become(left == '0' and 'reversed' or 'settled', 'left', left, refund_id, refund_amount)
end
return {state or 'not_found', at, ''}
