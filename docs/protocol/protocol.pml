/* The protocol of one mirror module: two hosts, one arbiter, one block of data. Rules S1 to S11 of docs/safety.md.
 * Read: variables, Inv (what must hold), Host (the rules), Arbiter, Faults. README.md says what is abstracted.
 * Every BREAK_... leaves one rule out; eng/test protocol demands that Spin finds each of them. */
#ifndef EPOCHS
#define EPOCHS 4   /* changes of the record end here */
#endif
#ifndef WRITES
#define WRITES 2
#endif
#ifndef CRASHES
#define CRASHES 1  /* of a process; its page cache lives on */
#endif
#ifndef POWER
#define POWER 1    /* losses of power; what was not flushed may be gone */
#endif
#ifndef REBUILDS
#define REBUILDS 0 /* losses of the control plane's database */
#endif

#ifndef FORCES
#define FORCES 0   /* an operator declares the copy of a host to be the module, whatever it lacks */
#endif
#ifndef PAIR
#define PAIR 0     /* 1: no arbiter; a named host keeps the record, host 0 at first */
#endif
#ifndef WORDS
#define WORDS 1    /* PAIR: an operator's words that name a host, the other one being off */
#endif

#define P   (1 - h)
#define HAS(s, x) (((s) >> (x)) & 1)
#define ME  (1 << h)
#define BOTH 3

/* Roles; TGT: target of a resync; FIN: target, flushed, stored UpToDate, may be asked in. */
#define DOWN 0
#define WAIT 1
#define PRIM 2
#define SEC  3
#define TGT  4
#define FIN  5
/* Data states. */
#define UPTODATE 0
#define OUTDATED 1
#define INCONSISTENT 2
/* Changes that are asked of the arbiter, as bits. */
#define TAKE 1
#define EXCL 2
#define JOIN 4
#define SWAP 8

/* The arbiter's record; lostRec: the database is gone. */
byte epoch = 1, prim = 0, set = BOTH;
bit lostRec, reported[2];
byte repE[2], repP[2], repS[2];
/* Requests under way at the record's epoch (an older one can only be refused), and the last answer, which may come late or never. */
byte q[2], ansE[2], ansP[2], ansS[2];

/* Durable on each host: the record as stored, data state, promise to leave, mark of the block. */
byte de[2] = 1, dp[2], ds[2] = BOTH;
byte state[2];
bit promise[2], mark[2];
/* The block: versions in the page cache and on stable storage; torn: half overwritten by a resync. */
byte mem[2], disk[2];
bit torn[2];

/* Volatile. */
byte role[2];
byte asked[2];                   /* requests whose outcome is not known */
byte released[2];                /* the epoch in which the peer's promise to leave was heard */
bit lease[2], answer[2];         /* the right to run; an answered beacon on its way */
bit waited[2];                   /* lease + margin have passed since the last answer, or the own start */
bit sess;                        /* the replication session, from PRIM to SEC, TGT or FIN */
byte wire;                       /* a write on it */
byte w[2]; bit got[2];           /* the write in progress; applied by the peer */
byte fl[2]; bit own[2], theirs[2]; /* the flush in progress (version + 1); done here, done there */
bit final[2];                    /* the resync's end: writes wait for the target */

/* What the outside was told. */
byte version, acked, flushed;
byte excused;                    /* unflushed versions up to here were under way when a member lost power */
byte deadFrom, deadTo;           /* versions that a takeover left behind: never to be seen again */
byte writer[EPOCHS + 1 + PAIR * 8 * WORDS]; /* host + 1 that acknowledged in this epoch */
byte crashes, powers, rebuilds;
#if FORCES + PAIR > 0
byte forces, decl, ansD[2];      /* host + 1 whose copy the record declares to be the module; in the last answer */
#endif
#if PAIR > 0
/* The record above is the named host's; keeps: durable, what this host believes; ready: it decides. A word begins an incarnation of epochs. */
byte named, words;
bit keeps[2], ready[2], fork;    /* fork: the last word was given where the one before it was not known */
#define INCARNATION(e) ((e) / 8)
#define EPOCH_MAX (8 * words + EPOCHS - (words > 0))
#define FOREIGN(x) (keeps[x] && named != (x))
#define DECIDES (role[named] != DOWN && ready[named])
#else
#define INCARNATION(e) 0
#define EPOCH_MAX EPOCHS
#define FOREIGN(x) false
#define DECIDES true
#endif
#ifdef REACH_JOINED_BUT_NOT_TOLD
bit untold;
#endif

#ifdef BREAK_PROMISE_FOR_TWO_EPOCHS
#define RELEASED (released[h] != 0)
#else
#define RELEASED (released[h] == de[h])
#endif
#ifdef BREAK_EXCLUDE_NOT_ASKED
#define NEEDED (sess && (HAS(ds[h], P) || (asked[h] & JOIN) || final[h]))
#else
/* S2, S4: the peer is waited for from the moment of asking it in until the record is known to show it out. */
#define NEEDED ((HAS(ds[h], P) && !RELEASED) || (asked[h] & JOIN) || final[h])
#endif
/* S8, S11: a recorded ALONE host needs no lease, but for one that has asked the peer in: it may be ALONE no more. */
#ifdef BREAK_NO_LEASE_WHILE_JOINING
#define ALONE(x) (ds[x] == (1 << (x)))
#else
#define ALONE(x) (ds[x] == (1 << (x)) && !(asked[x] & JOIN))
#endif
#define RUNS(x) (role[x] == PRIM && !(asked[x] & SWAP) && (lease[x] || ALONE(x) || released[x] == de[x]))
#ifdef BREAK_TAKEOVER_KEEPS_BOTH
#define TAKEN true
#else
#define TAKEN (ds[h] == ME) /* else it is a late handover: its session is gone, so this host has to take over */
#endif
/* A copy that nobody may see: not UpToDate, one that missed something, or what a takeover left behind. */
#define STALE(x) (state[x] != UPTODATE || torn[x] || mem[x] < acked || (mem[x] > deadFrom && mem[x] <= deadTo))
#define PROMOTABLE(x) (HAS(set, x) && !lostRec && state[x] == UPTODATE && !promise[x])
#define END_SESSION sess = 0; wire = 0; final[0] = 0; final[1] = 0; \
    if :: role[0] >= SEC -> role[0] = WAIT :: else fi; if :: role[1] >= SEC -> role[1] = WAIT :: else fi
#define END_IO w[h] = 0; got[h] = 0; fl[h] = 0; own[h] = 0; theirs[h] = 0
#ifdef BREAK_EPOCH_NOT_COMPARED
#define ASK(k) asked[h] = asked[h] | k; q[h] = q[h] | k
#define MAY_ASK(k) (!(q[h] & k) && !lostRec)
#else
#define ASK(k) asked[h] = asked[h] | k; q[h] = q[h] | k
#define MAY_ASK(k) (!(q[h] & k) && de[h] == epoch && !lostRec && epoch < EPOCH_MAX)
#endif

/* What must hold in every state. */
active proctype Inv() {
  do
  :: d_step { RUNS(0) && RUNS(1) -> assert(false) } /* one running VM */
  :: d_step { (RUNS(0) && STALE(0)) || (RUNS(1) && STALE(1)) -> assert(false) } /* S3 */
  :: d_step { PROMOTABLE(0) && (mem[0] < acked || disk[0] < flushed || torn[0]) -> assert(false) } /* S2 */
  :: d_step { PROMOTABLE(1) && (mem[1] < acked || disk[1] < flushed || torn[1]) -> assert(false) } /* S2 */
  :: d_step { !mark[0] && !mark[1] && (mem[0] != mem[1] || disk[0] != disk[1] || mem[0] != disk[0]) -> assert(false) } /* S6 */
#ifdef REACH_JOINED_BUT_NOT_TOLD /* the source died after the grant; the target serves */
  :: d_step { untold && role[0] == DOWN && RUNS(1) && acked > 0 && writer[de[1]] == 2 -> assert(false) } /* reached */
#endif
#ifdef REACH_REPLICATION_DEAD_BEACONS_ALIVE /* the VM goes on ALONE though the peer answers */
  :: d_step { !sess && RUNS(0) && ds[0] == 1 && role[1] == WAIT && !waited[1] && lease[0] && acked > 0 && crashes + powers == 0 -> assert(false) } /* reached */
#endif
#ifdef REACH_BEACONS_DEAD_REPLICATION_ALIVE /* the peer takes over; the former primary, up and never told, does not run */
  :: d_step { RUNS(1) && de[1] == 2 && role[0] == PRIM && de[0] == 1 && acked > 0 && crashes + powers == 0 -> assert(false) } /* reached */
#endif
#ifdef REACH_FORCED /* the declared host runs and acknowledges; what the other one had acknowledged alone is given up */
  :: d_step { forces == 1 && deadTo > deadFrom && ((RUNS(0) && writer[de[0]] == 1 && mem[0] > deadTo) || (RUNS(1) && writer[de[1]] == 2 && mem[1] > deadTo)) -> assert(false) } /* reached */
#endif
#ifdef REACH_NAMED_BY_WORD /* the other host runs and acknowledges by the word; the former named host, back, is its secondary */
  :: d_step { words == 1 && named == 1 && RUNS(1) && writer[de[1]] == 2 && role[0] == SEC && acked == mem[1] && crashes > 0 -> assert(false) } /* reached */
#endif
#ifdef REACH_FORK /* each host was named while the other was off; the last word counts, and both are PRIM and SECOND again */
  :: d_step { words == 2 && fork && RUNS(0) && role[1] == SEC && !keeps[1] -> assert(false) } /* reached */
#endif
  :: d_step { !lostRec && set == 0 -> assert(false) } /* S3 */
  od
}

inline acknowledges() { assert(writer[de[h]] == 0 || writer[de[h]] == h + 1); writer[de[h]] = h + 1 } /* S1 */

inline serve() {
  END_SESSION; END_IO; role[h] = PRIM; lease[h] = 0; answer[h] = 0; released[h] = 0
}

/* S11: an answer, a refusal too, carries the record; it is stored, then obeyed before anything else. */
inline obey() {
#if FORCES + PAIR > 0
  if :: ansD[h] == h + 1 -> state[h] = UPTODATE; promise[h] = 0 :: else fi; ansD[h] = 0;
#endif
  de[h] = ansE[h]; dp[h] = ansP[h]; ds[h] = ansS[h];
  if :: !HAS(ds[h], h) && state[h] == UPTODATE -> state[h] = OUTDATED :: else fi;
  if
  :: dp[h] == h && role[h] == PRIM -> final[h] = 0 /* excluded, or joined */
  :: dp[h] == h && role[h] == WAIT && TAKEN && (asked[h] & TAKE) ->
     serve(); if :: mem[P] > mem[h] || disk[P] > mem[h] -> deadFrom = mem[h]; deadTo = version :: else fi
  :: dp[h] == h && role[h] == SEC -> serve() /* handover */
  :: dp[h] != h && role[h] == PRIM && (asked[h] & SWAP) && HAS(ds[h], h) -> END_IO; lease[h] = 0; answer[h] = 0; role[h] = SEC
  :: dp[h] != h && role[h] == PRIM && !((asked[h] & SWAP) && HAS(ds[h], h)) -> END_SESSION; END_IO; lease[h] = 0; answer[h] = 0; role[h] = WAIT
  :: dp[h] != h && role[h] == FIN && HAS(ds[h], h) -> role[h] = SEC
  :: dp[h] != h && role[h] == SEC && !HAS(ds[h], h) -> END_SESSION
  :: else
  fi;
  asked[h] = 0; ansE[h] = 0; ansP[h] = 0; ansS[h] = 0
}

proctype Host(bit h) {
  do
  /* Looking, and hearing. */
  :: d_step { role[h] != DOWN && !lostRec && DECIDES && !FOREIGN(h) && epoch > de[h] && ansE[h] != epoch ->
#if FORCES + PAIR > 0
     ansD[h] = decl;
#endif
     ansE[h] = epoch; ansP[h] = prim; ansS[h] = set }
  :: d_step { role[h] != DOWN && ansE[h] > de[h] -> obey() }
#ifdef BREAK_LOOK_DECIDES
  :: d_step { asked[h] != 0 && role[h] == PRIM && !(asked[h] & SWAP) && de[h] == epoch -> asked[h] = 0; final[h] = 0 }
#endif
#ifdef BREAK_SWAP_TIMEOUT_IS_REFUSAL
  :: d_step { (asked[h] & SWAP) && role[h] == PRIM -> asked[h] = 0 }
#endif

  /* S2, S6: a write is marked, sent, done on both, acknowledged. */
  :: d_step { role[h] == PRIM && !(asked[h] & SWAP) && w[h] == 0 && fl[h] == 0 && wire == 0 && (sess || !NEEDED) && version < WRITES ->
#ifndef BREAK_WRITE_NOT_MARKED
     mark[h] = 1;
#endif
     version++; w[h] = version; got[h] = 0; if :: sess -> wire = version :: else fi }
  :: d_step { role[h] == PRIM && w[h] != 0 && mem[h] != w[h] -> mem[h] = w[h] }
  :: d_step { role[h] >= SEC && sess && wire != 0 -> mem[h] = wire; if :: w[P] == wire -> got[P] = 1 :: else fi; wire = 0 }
  :: d_step { role[h] == PRIM && w[h] != 0 && mem[h] == w[h] &&
#ifndef BREAK_ACK_BEFORE_PEER
     (!NEEDED || got[h]) &&
#endif
     true -> acknowledges(); if :: w[h] > excused -> acked = w[h] :: else fi; w[h] = 0; got[h] = 0 }
  /* A flush. Behind the writes on the wire; clears the marks when both have done it. */
  :: d_step { role[h] == PRIM && !(asked[h] & SWAP) && w[h] == 0 && fl[h] == 0 && (sess || !NEEDED) && mem[h] > flushed -> fl[h] = mem[h] + 1; own[h] = 0; theirs[h] = 0 }
  :: d_step { role[h] == PRIM && fl[h] != 0 && !own[h] -> disk[h] = mem[h]; own[h] = 1 }
  :: d_step { role[h] >= SEC && sess && wire == 0 && !torn[h] && fl[P] != 0 && !theirs[P] -> disk[h] = mem[h]; theirs[P] = 1 }
  :: d_step { role[h] == PRIM && fl[h] != 0 &&
#ifndef BREAK_OWN_FLUSH_UNFINISHED
     own[h] &&
#endif
     (!NEEDED || theirs[h]) -> acknowledges(); flushed = fl[h] - 1;
     if :: NEEDED && theirs[h] -> mark[h] = 0; if :: sess -> mark[P] = 0 :: else fi :: else fi; fl[h] = 0; own[h] = 0; theirs[h] = 0 }

  /* S4: the peer is lost: ask it out. Also decides a join or a handover of unknown outcome. */
  :: d_step { role[h] == PRIM && !sess && (HAS(ds[h], P) || asked[h] != 0) && MAY_ASK(EXCL) -> ASK(EXCL) }

  /* S5 to S7: resync, from the recorded ALONE host to a host that is out of the record. */
#ifdef BREAK_DIRECTION_GUESSED
  :: d_step { role[h] == WAIT && role[P] == WAIT && !sess && mem[h] >= mem[P] && (mark[0] || mark[1]) ->
     assert(mem[h] >= acked && !(mem[h] > deadFrom && mem[h] <= deadTo)); mem[P] = mem[h] }
#endif
  :: d_step { role[h] == PRIM && ds[h] == ME && !(asked[h] & JOIN) && !sess && w[h] == 0 && fl[h] == 0 && role[P] == WAIT && de[P] <= de[h] && !FOREIGN(P) ->
     de[P] = de[h]; dp[P] = h; ds[P] = ME; asked[P] = 0; state[P] = INCONSISTENT; role[P] = TGT; sess = 1;
#ifdef BREAK_MARKS_NOT_UNITED
     if :: !mark[h] -> mark[P] = 0 :: else fi;
#else
     mark[h] = mark[h] | mark[P];
#endif
     torn[P] = mark[h] }
  :: d_step { role[h] == PRIM && sess && role[P] == TGT && torn[P] && w[h] == 0 && wire == 0 ->
     assert(mem[h] >= acked); mem[P] = mem[h]; torn[P] = 0;                      /* no older over newer */
#ifdef BREAK_CLEARED_WHEN_COPIED
     mark[0] = 0; mark[1] = 0;
#endif
   }
  :: d_step { role[h] == PRIM && sess && role[P] == TGT && !torn[P] && !final[h] -> final[h] = 1 }
  :: d_step { role[h] == PRIM && sess && role[P] == TGT && final[h] &&
#ifndef BREAK_WRITE_ON_WIRE_AT_JOIN
     wire == 0 && w[h] == 0 && fl[h] == 0 &&
#endif
     true ->
#ifndef BREAK_JOIN_BEFORE_FLUSH
     disk[h] = mem[h]; disk[P] = mem[P]; if :: mem[0] == mem[1] -> mark[0] = 0; mark[1] = 0 :: else fi;
#endif
     state[P] = UPTODATE; promise[P] = 0; role[P] = FIN }
  :: d_step { role[h] == PRIM && sess && role[P] == FIN && !HAS(ds[h], P) && MAY_ASK(JOIN) -> ASK(JOIN) }

  /* Handover: the VM has stopped; until the outcome is known nobody runs. */
  :: d_step { role[h] == PRIM && sess && role[P] == SEC && ds[h] == BOTH && asked[h] == 0 && w[h] == 0 && fl[h] == 0 && wire == 0 && MAY_ASK(SWAP) -> ASK(SWAP) }
  /* The new primary's session with the former one, which has stored the handover and is SECOND. */
  :: d_step { role[h] == PRIM && !sess && role[P] == SEC && de[h] == de[P] && ds[h] == BOTH && w[h] == 0 && fl[h] == 0 -> sess = 1 }
#ifdef BREAK_NEW_INCARNATION_RESUMED
  :: d_step { role[h] == PRIM && !sess && role[P] == WAIT && asked[h] == 0 && asked[P] == 0 && de[h] == de[P] && ds[h] == BOTH && w[h] == 0 && fl[h] == 0 -> sess = 1; role[P] = SEC }
#endif

  /* S8: beacons. The wait ends later than every lease that was answered before it. */
  :: d_step { role[h] != DOWN && role[h] != PRIM && role[P] == PRIM && de[h] <= de[P] && INCARNATION(de[h]) == INCARNATION(de[P]) && !(lease[P] && !waited[h]) && !(answer[P] && !waited[h]) &&
#ifndef BREAK_ANSWER_WHILE_CLAIMING
     !(asked[h] & TAKE) &&
#endif
     true -> waited[h] = 0; answer[P] = 1 }
  :: d_step { role[h] == PRIM && answer[h] -> lease[h] = 1; answer[h] = 0 }
  :: d_step { role[h] != DOWN && role[h] != PRIM && !waited[h] -> waited[h] = 1;
#ifndef BREAK_NO_WAIT
     lease[P] = 0; answer[P] = 0
#endif
   }
  /* S3: takeover. */
  :: d_step { (role[h] == WAIT || role[h] == SEC) && waited[h] && MAY_ASK(TAKE) &&
#ifndef BREAK_PROMOTED_OUTSIDE_THE_SET
     HAS(ds[h], h) && state[h] == UPTODATE &&
#endif
     !promise[h] -> ASK(TAKE); if :: sess -> END_SESSION :: else fi; role[h] = WAIT }

  /* S9: the promise to leave; the word may be lost on its way. */
  :: d_step {
#ifdef BREAK_PROMISE_WHILE_ASKING
     (role[h] == SEC || role[h] == WAIT) && role[P] == PRIM && HAS(ds[h], h) &&
#else
     role[h] == SEC && sess && asked[h] == 0 &&
#endif
     de[h] == de[P] && !promise[h] -> promise[h] = 1; released[P] = de[P]; END_SESSION }
  :: d_step { role[h] == SEC && sess && asked[h] == 0 && de[h] == de[P] && !promise[h] -> promise[h] = 1; END_SESSION }

  /* S10: a host reports what it has stored, and hears no answer of the former incarnation any more. */
  :: d_step { lostRec && !reported[h] -> reported[h] = 1; repE[h] = de[h]; repP[h] = dp[h]; repS[h] = ds[h];
#ifndef BREAK_OLD_INCARNATION_ANSWERS
     ansE[h] = 0; ansP[h] = 0; ansS[h] = 0
#endif
   }
#if PAIR > 0
  /* A named host decides nothing after a start before it has heard the other one, and of two that believe to be named the newer incarnation
   * wins. Where neither incarnation came from the other, the one that decides by an operator's word does; if none does, both wait for a word. */
  :: d_step { role[h] != DOWN && role[P] != DOWN && keeps[h] && !ready[h] && named == h && !(keeps[P] && fork) -> ready[h] = 1 }
#ifdef BREAK_FORK_DECIDED_BY_EPOCH
  :: d_step { role[h] == WAIT && role[P] != DOWN && FOREIGN(h) && fork && !ready[P] && waited[h] && ds[h] == ME && state[h] == UPTODATE -> serve() }
#endif
  :: d_step { role[h] != DOWN && role[P] != DOWN && FOREIGN(h) && (ready[P] || !fork) -> keeps[h] = 0 }
#ifdef BREAK_NAMED_DECIDES_AT_START
  :: d_step { role[h] == WAIT && FOREIGN(h) && waited[h] && HAS(ds[h], h) && state[h] == UPTODATE && !promise[h] -> de[h]++; dp[h] = h; ds[h] = ME; serve() }
#endif
#ifdef BREAK_TIE_BREAKER_FOR_BOTH
  :: d_step { role[h] == WAIT && !keeps[h] && waited[h] && HAS(ds[h], h) && state[h] == UPTODATE && !promise[h] && de[h] < EPOCHS -> de[h]++; dp[h] = h; ds[h] = ME; serve() }
#endif
  /* The operator's word: the other host is off. This host's own copy and record count, as a new incarnation. */
  :: d_step { words < WORDS && role[h] == WAIT && !(keeps[h] && ready[h]) &&
#ifndef BREAK_WORD_WITHOUT_OFF
     role[P] == DOWN &&
#endif
#ifndef BREAK_WORD_FOR_HALF_A_RESYNC
     state[h] != INCONSISTENT &&
#endif
     true ->
     fork = FOREIGN(h); words++; named = h; keeps[h] = 1; ready[h] = 1; decl = h + 1; prim = h; set = ME; q[0] = 0; q[1] = 0;
     ansE[0] = 0; ansP[0] = 0; ansS[0] = 0; ansE[1] = 0; ansP[1] = 0; ansS[1] = 0;
#ifdef BREAK_WORD_KEEPS_INCARNATION
     epoch = de[h] + 1;
#else
     epoch = 8 * words;
#endif
     deadFrom = mem[h]; deadTo = version; excused = version;
     if :: acked > mem[h] -> acked = mem[h] :: else fi; if :: flushed > disk[h] -> flushed = disk[h] :: else fi }
#endif
  od
}

/* Compare-and-set: the request that comes first at this epoch wins; the others are void with it. */
inline decided(newPrim, newSet) {
#if FORCES + PAIR > 0
  decl = 0; ansD[h] = 0;
#endif
  epoch++; prim = newPrim; set = newSet; ansE[h] = epoch; ansP[h] = prim; ansS[h] = set;
#ifdef BREAK_EPOCH_NOT_COMPARED
  q[h] = 0
#else
  q[0] = 0; q[1] = 0
#endif
}
proctype Arbiter(bit h) {
  do
  :: d_step { epoch < EPOCH_MAX && DECIDES && !lostRec && (q[h] & TAKE) &&
#ifndef BREAK_PROMOTED_OUTSIDE_THE_SET
     HAS(set, h) &&
#endif
     true ->
#ifdef BREAK_TAKEOVER_KEEPS_BOTH
     decided(h, set)
#else
     decided(h, ME)
#endif
   }
  :: d_step { epoch < EPOCH_MAX && DECIDES && !lostRec && (q[h] & EXCL) -> decided(h, ME) }
  :: d_step { epoch < EPOCH_MAX && DECIDES && !lostRec && (q[h] & JOIN) -> decided(h, BOTH) }
  :: d_step { epoch < EPOCH_MAX && DECIDES && !lostRec && (q[h] & SWAP) -> decided(P, BOTH) }
  od
}

inline stop() {
#ifdef REACH_JOINED_BUT_NOT_TOLD
  if :: role[P] == FIN && HAS(set, P) && !HAS(ds[P], P) -> untold = 1 :: else fi;
#endif
  if :: sess -> END_SESSION :: else fi; END_IO;
  role[h] = DOWN; asked[h] = 0; released[h] = 0; lease[h] = 0; answer[h] = 0; waited[h] = 0;
#if PAIR > 0
  ready[h] = 0;
#endif
}
proctype Faults(bit h) {
  do
  :: d_step { sess && h == 0 -> END_SESSION }
  :: d_step { role[h] != DOWN && crashes < CRASHES -> crashes++; stop() }
  :: atomic { role[h] != DOWN && powers < POWER -> powers++;
     /* S2: what was not flushed survives unless a member loses power. */
     if :: HAS(set, h) || HAS(ds[P], h) || ((asked[P] | q[P]) & JOIN) -> acked = flushed; excused = version :: else fi;
     d_step { stop() };
     if :: mem[h] != disk[h] -> mem[h] = disk[h] :: disk[h] = mem[h] fi }
  :: d_step { role[h] == DOWN -> role[h] = WAIT;
#ifdef BREAK_PROMISE_FORGOTTEN
     promise[h] = 0;
#endif
#ifdef BREAK_RESTART_COUNTS_AS_SILENCE
     waited[h] = 1
#endif
   }
#if FORCES > 0
  /* force-promote: with the operator's word that the other host is off, a copy that is whole, though it may be old, becomes the module.
   * What it lacks is lost by that word, and must never be seen again. */
  :: d_step { forces < FORCES && !lostRec && epoch < EPOCHS && role[h] == WAIT && (!HAS(set, h) || promise[h]) &&
#ifndef BREAK_FORCE_WITHOUT_WORD
     role[P] == DOWN &&
#endif
#ifndef BREAK_FORCE_INCONSISTENT
     state[h] != INCONSISTENT &&
#endif
     true ->
     forces++; decl = h + 1; prim = h; q[0] = 0; q[1] = 0;
#ifndef BREAK_FORCE_SAME_EPOCH
     epoch++;
#endif
#ifdef BREAK_FORCE_KEEPS_BOTH
     set = BOTH;
#else
     set = ME;
#endif
     deadFrom = mem[h]; deadTo = version; excused = version;
     if :: acked > mem[h] -> acked = mem[h] :: else fi; if :: flushed > disk[h] -> flushed = disk[h] :: else fi }
#endif
  :: d_step { h == 0 && rebuilds < REBUILDS && !lostRec -> rebuilds++; lostRec = 1; q[0] = 0; q[1] = 0; reported[0] = 0; reported[1] = 0; epoch = 0; prim = 0; set = 0 }
  :: d_step { h == 0 && lostRec && reported[0] && reported[1] -> lostRec = 0;
#ifdef BREAK_LOWER_EPOCH_WINS
     if :: repE[0] <= repE[1] -> epoch = repE[0]; prim = repP[0]; set = repS[0]
#else
     if :: repE[0] >= repE[1] -> epoch = repE[0]; prim = repP[0]; set = repS[0]
#endif
     :: else -> epoch = repE[1]; prim = repP[1]; set = repS[1] fi;
     reported[0] = 0; reported[1] = 0; repE[0] = 0; repP[0] = 0; repS[0] = 0; repE[1] = 0; repP[1] = 0; repS[1] = 0 }
  od
}

init {
  atomic {
    role[0] = PRIM; role[1] = SEC; sess = 1; lease[0] = 1;
#if PAIR > 0
    keeps[0] = 1; ready[0] = 1;
#endif
    run Host(0); run Host(1); run Arbiter(0); run Arbiter(1); run Faults(0); run Faults(1)
  }
}
