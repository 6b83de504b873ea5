-- The signing key used when JWT_SECRET is not set: every replica reads the same one.
CREATE TABLE configuracao (
    chave text PRIMARY KEY,
    valor text NOT NULL
);
INSERT INTO configuracao (chave, valor)
VALUES ('jwt', replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''));
