/* redis_table - a program of the build: writes redis_table.inc, the table that redis_commands.c finds commands in, made from the
 * lists below. Made when a program starts, it would be five pages of each process that are written to, whatever that does.
 */
#include "redis_commands.h"
#include "redis_hash.h"

#include <stdio.h>
#include <string.h>

/* The command table of Redis 7.0, and what 7.2 to 8.0 and Valkey added. One literal a line would be 400 lines: words are
 * separated by one space here, and a container is followed by its subcommands in a list of its own. */
static const char plain_names[] =
	"APPEND ASKING AUTH BGREWRITEAOF BGSAVE BITCOUNT BITFIELD BITFIELD_RO BITOP BITPOS BLMOVE BLMPOP BLPOP "
	"BRPOP BRPOPLPUSH BZMPOP BZPOPMAX BZPOPMIN COPY DBSIZE DEBUG DECR DECRBY DEL DISCARD DUMP ECHO EVAL "
	"EVALSHA EVALSHA_RO EVAL_RO EXEC EXISTS EXPIRE EXPIREAT EXPIRETIME FAILOVER FCALL FCALL_RO FLUSHALL "
	"FLUSHDB GEOADD GEODIST GEOHASH GEOPOS GEORADIUS GEORADIUSBYMEMBER GEORADIUSBYMEMBER_RO GEORADIUS_RO "
	"GEOSEARCH GEOSEARCHSTORE GET GETBIT GETDEL GETEX GETRANGE GETSET HDEL HELLO HEXISTS HEXPIRE HEXPIREAT "
	"HEXPIRETIME HGET HGETALL HGETDEL HGETEX HINCRBY HINCRBYFLOAT HKEYS HLEN HMGET HMSET HPERSIST HPEXPIRE "
	"HPEXPIREAT HPEXPIRETIME HPTTL HRANDFIELD HSCAN HSET HSETEX HSETNX HSTRLEN HTTL HVALS INCR INCRBY "
	"INCRBYFLOAT INFO KEYS LASTSAVE LCS LINDEX LINSERT LLEN LMOVE LMPOP LOLWUT LPOP LPOS LPUSH LPUSHX LRANGE "
	"LREM LSET LTRIM MGET MIGRATE MOVE MSET MSETEX MSETNX MULTI PERSIST PEXPIRE PEXPIREAT PEXPIRETIME PFADD "
	"PFCOUNT PFDEBUG PFMERGE PFSELFTEST PING PSETEX PTTL PUBLISH QUIT RANDOMKEY READONLY "
	"READWRITE RENAME RENAMENX REPLCONF REPLICAOF RESET RESTORE RESTORE-ASKING ROLE RPOP RPOPLPUSH RPUSH "
	"RPUSHX SADD SAVE SCAN SCARD SDIFF SDIFFSTORE SELECT SET SETBIT SETEX SETNX SETRANGE SHUTDOWN SINTER "
	"SINTERCARD SINTERSTORE SISMEMBER SLAVEOF SMEMBERS SMISMEMBER SMOVE SORT SORT_RO SPOP SPUBLISH "
	"SRANDMEMBER SREM SSCAN STRLEN SUBSTR SUNION SUNIONSTORE SWAPDB TIME TOUCH TTL TYPE UNLINK "
	"UNWATCH WAIT WAITAOF WATCH XACK XADD XAUTOCLAIM XCLAIM XDEL XLEN XPENDING XRANGE XREAD "
	"XREADGROUP XREVRANGE XSETID XTRIM ZADD ZCARD ZCOUNT ZDIFF ZDIFFSTORE ZINCRBY ZINTER ZINTERCARD "
	"ZINTERSTORE ZLEXCOUNT ZMPOP ZMSCORE ZPOPMAX ZPOPMIN ZRANDMEMBER ZRANGE ZRANGEBYLEX ZRANGEBYSCORE "
	"ZRANGESTORE ZRANK ZREM ZREMRANGEBYLEX ZREMRANGEBYRANK ZREMRANGEBYSCORE ZREVRANGE ZREVRANGEBYLEX "
	"ZREVRANGEBYSCORE ZREVRANK ZSCAN ZSCORE ZUNION ZUNIONSTORE";

static const char stream_names[] = "MONITOR PSYNC SYNC";
static const char subscribing_names[] = "PSUBSCRIBE PUNSUBSCRIBE SSUBSCRIBE SUBSCRIBE SUNSUBSCRIBE UNSUBSCRIBE";
static const char subscribers_names[] = "PING QUIT RESET";

static const char *const containers[][2] = {
	{ "ACL", "CAT DELUSER DRYRUN GENPASS GETUSER HELP LIST LOAD LOG SAVE SETUSER USERS WHOAMI" },
	{ "CLIENT",
	  "CACHING GETNAME GETREDIR HELP ID INFO KILL LIST NO-EVICT NO-TOUCH PAUSE REPLY SETINFO "
	  "SETNAME TRACKING TRACKINGINFO UNBLOCK UNPAUSE" },
	{ "CLUSTER",
	  "ADDSLOTS ADDSLOTSRANGE BUMPEPOCH COUNT-FAILURE-REPORTS COUNTKEYSINSLOT DELSLOTS "
	  "DELSLOTSRANGE FAILOVER FLUSHSLOTS FORGET GETKEYSINSLOT HELP INFO KEYSLOT LINKS MEET MYID "
	  "MYSHARDID NODES REPLICAS REPLICATE RESET SAVECONFIG SET-CONFIG-EPOCH SETSLOT SHARDS "
	  "SLAVES SLOTS" },
	{ "COMMAND", "COUNT DOCS GETKEYS GETKEYSANDFLAGS HELP INFO LIST" },
	{ "CONFIG", "GET HELP RESETSTAT REWRITE SET" },
	{ "FUNCTION", "DELETE DUMP FLUSH HELP KILL LIST LOAD RESTORE STATS" },
	{ "LATENCY", "DOCTOR GRAPH HELP HISTOGRAM HISTORY LATEST RESET" },
	{ "MEMORY", "DOCTOR HELP MALLOC-STATS PURGE STATS USAGE" },
	{ "MODULE", "HELP LIST LOAD LOADEX UNLOAD" },
	{ "OBJECT", "ENCODING FREQ HELP IDLETIME REFCOUNT" },
	{ "PUBSUB", "CHANNELS HELP NUMPAT NUMSUB SHARDCHANNELS SHARDNUMSUB" },
	{ "SCRIPT", "DEBUG EXISTS FLUSH HELP KILL LOAD" },
	{ "SLOWLOG", "GET HELP LEN RESET" },
	{ "XGROUP", "CREATE CREATECONSUMER DELCONSUMER DESTROY HELP SETID" },
	{ "XINFO", "CONSUMERS GROUPS HELP STREAM" },
};

static struct redis_command commands[REDIS_COMMANDS_MAX] = { { "_OTHER", 0 } };
static uint32_t command_count = 1;
static uint16_t place_of_hash[REDIS_PLACES];
static int left_out_count;

/* Where it is, or belongs. */
static uint32_t place_of(const char name[REDIS_NAME_BYTES])
{
	uint32_t place = redis_hash(name);

	while (place_of_hash[place] && memcmp(commands[place_of_hash[place]].name, name, REDIS_NAME_BYTES) != 0)
		place = redis_place_after(place);
	return place;
}

/* prefix is "" or a container and a space; of a name that comes twice the first counts. */
static void add(const char *prefix, const char *word, size_t word_bytes, uint32_t traits)
{
	struct redis_command *command = &commands[command_count];
	size_t prefix_bytes = strlen(prefix);

	if (command_count == REDIS_COMMANDS_MAX - 1 || prefix_bytes + word_bytes >= REDIS_NAME_BYTES) {
		fprintf(stderr, "redis_table: no room for %s%.*s\n", prefix, (int)word_bytes, word);
		left_out_count++;
		return;
	}
	memset(command->name, 0, sizeof(command->name));
	memcpy(command->name, prefix, prefix_bytes);
	memcpy(command->name + prefix_bytes, word, word_bytes);
	command->traits = traits;
	uint32_t place = place_of(command->name);
	if (!place_of_hash[place])
		place_of_hash[place] = (uint16_t)command_count++;
}

static void add_list(const char *prefix, const char *words, uint32_t traits)
{
	for (const char *word = words; *word;) {
		size_t n = strcspn(word, " ");
		add(prefix, word, n, traits);
		word += n + (word[n] == ' ');
	}
}

static void add_all(void)
{
	char prefix[REDIS_NAME_BYTES];

	/* First come those that stand in a list without traits, too. */
	add("CLIENT ", "REPLY", 5, REDIS_IS_CONTAINER);
	add("CLIENT REPLY ", "ON", 2, REDIS_REPLIES_ON);
	add("CLIENT REPLY ", "OFF", 3, REDIS_REPLIES_OFF);
	add("CLIENT REPLY ", "SKIP", 4, REDIS_REPLIES_SKIP);
	add_list("", subscribers_names, REDIS_GOES_ON);
	add_list("", subscribing_names, REDIS_SUBSCRIBES);
	add_list("", stream_names, REDIS_OPENS_STREAM);
	add_list("", plain_names, 0);
	for (size_t i = 0; i < sizeof(containers) / sizeof(containers[0]); i++) {
		size_t n = strlen(containers[i][0]);
		memcpy(prefix, containers[i][0], n);
		memcpy(prefix + n, " ", 2);
		add("", containers[i][0], n, REDIS_IS_CONTAINER);
		add_list(prefix, containers[i][1], 0);
	}
}

int main(void)
{
	add_all();
	puts("static const struct redis_command commands[] = {");
	for (uint32_t i = 0; i < command_count; i++)
		printf("\t{ \"%s\", %u },\n", commands[i].name, commands[i].traits);
	puts("};\nstatic const uint16_t place_of_hash[REDIS_PLACES] = {");
	for (uint32_t i = 0; i < REDIS_PLACES; i++)
		if (place_of_hash[i])
			printf("\t[%u] = %u,\n", i, place_of_hash[i]);
	puts("};");
	return left_out_count != 0;
}
