CREATE TABLE usuarios (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    nome       text NOT NULL,
    email      text NOT NULL,
    senha_hash text NOT NULL,
    criado_em  timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX usuarios_email ON usuarios (lower(email));

CREATE TABLE tarefas (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    usuario_id    bigint NOT NULL REFERENCES usuarios (id) ON DELETE CASCADE,
    titulo        text NOT NULL,
    descricao     text NOT NULL DEFAULT '',
    concluida     boolean NOT NULL DEFAULT false,
    criada_em     timestamptz NOT NULL DEFAULT now(),
    atualizada_em timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX tarefas_usuario ON tarefas (usuario_id, id);
