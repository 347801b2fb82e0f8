/*
 * pqproto.h: message types and codes of the frontend/backend protocol 3.0,
 * under the PostgreSQL manual's names (chapter 55.7).
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_PQPROTO_H
#define PGW_PQPROTO_H

/* Frontend */
#define PqMsg_Bind 'B'
#define PqMsg_Close 'C'
#define PqMsg_Describe 'D'
#define PqMsg_Execute 'E'
#define PqMsg_FunctionCall 'F'
#define PqMsg_Flush 'H'
#define PqMsg_Parse 'P'
#define PqMsg_Query 'Q'
#define PqMsg_Sync 'S'
#define PqMsg_Terminate 'X'
#define PqMsg_CopyFail 'f'
#define PqMsg_PasswordMessage 'p'	/* also SASL and GSS responses */

/* Backend */
#define PqMsg_ParseComplete '1'
#define PqMsg_BindComplete '2'
#define PqMsg_CloseComplete '3'
#define PqMsg_NotificationResponse 'A'
#define PqMsg_CommandComplete 'C'
#define PqMsg_DataRow 'D'
#define PqMsg_ErrorResponse 'E'
#define PqMsg_CopyInResponse 'G'
#define PqMsg_CopyOutResponse 'H'
#define PqMsg_EmptyQueryResponse 'I'
#define PqMsg_BackendKeyData 'K'
#define PqMsg_NoticeResponse 'N'
#define PqMsg_AuthenticationRequest 'R'
#define PqMsg_ParameterStatus 'S'
#define PqMsg_RowDescription 'T'
#define PqMsg_FunctionCallResponse 'V'
#define PqMsg_CopyBothResponse 'W'
#define PqMsg_ReadyForQuery 'Z'
#define PqMsg_NoData 'n'
#define PqMsg_PortalSuspended 's'
#define PqMsg_ParameterDescription 't'
#define PqMsg_NegotiateProtocolVersion 'v'

/* Both */
#define PqMsg_CopyDone 'c'
#define PqMsg_CopyData 'd'

/* AuthenticationRequest codes */
#define AUTH_REQ_OK 0
#define AUTH_REQ_PASSWORD 3
#define AUTH_REQ_SASL 10
#define AUTH_REQ_SASL_CONT 11
#define AUTH_REQ_SASL_FIN 12

/* What stands where a StartupMessage has its version */
#define PG_PROTOCOL_3_0 196608u
#define PG_CANCEL_REQUEST 80877102u
#define PG_SSL_REQUEST 80877103u
#define PG_GSSENC_REQUEST 80877104u
#define PG_MAX_STARTUP_BYTES 10000u	/* MAX_STARTUP_PACKET_LENGTH */

/* Transaction status in ReadyForQuery */
#define PQ_IDLE 'I'
#define PQ_IN_BLOCK 'T'
#define PQ_FAILED 'E'

#endif
