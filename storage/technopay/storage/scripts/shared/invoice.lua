-- invoice: how an invoice is shown. Its payment determines whether it is being paid, paid or refunded; the invoice only
-- has the id of that payment.

local INVOICE_STATUS = {
    processing = 'processing', succeeded = 'paid', refunding = 'paid', refunded = 'paid',
}

-- A whole invoice, or nil.
local function read_invoice(id)
    local invoice = read('invoice', id)
    if invoice and invoice.payment then
        local status, paid_at, refunds = fields('payment', invoice.payment, 'status', 'paid_at', 'refunds')
        invoice.status = INVOICE_STATUS[status] or invoice.status
        invoice.paid_at = paid_at or nil
        invoice.refunds = refunds or nil
    end
    return invoice
end
