-- Codes that were imported or made, and for which message each was drawn; a message's code stands in `messages.code` too and never changes.
CREATE TABLE coupons (
    coupon TEXT NOT NULL,
    code TEXT NOT NULL,
    -- The order in which imported codes are drawn.
    number BIGINT NOT NULL,
    message_id BIGINT,
    drawn_at BIGINT,
    PRIMARY KEY (coupon, code)
);
CREATE INDEX coupons_free ON coupons (coupon, number) WHERE message_id IS NULL;
