using Pollux.DataPlane.Core.Roles;
using Pollux.Grains.Core;
using ArbiterRequest = Pollux.Grains.Core.ArbiterRequest;

namespace Pollux.Tests.Simulation.Model;

/// <summary>The production decision behind a link that loses requests and replies, delivers duplicates late, and is away at times.</summary>
internal sealed partial class SimArbiter(World world)
{
    private long awayUntilMs;

    public ArbiterRecord Record { get; private set; } =
        ArbiterRecord.ForNewModule(new Guid(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11), "a", ["a", "b"]);

    /// <summary>What becomes of a change that a host asks for, besides what chance does; for scenarios.</summary>
    public Func<SimHost, ArbiterRequest, RequestFate>? FateOf { get; set; }

    public void Away(long forMs)
    {
        awayUntilMs = world.Schedule.NowMs + forMs;
        world.Say("fault", $"arbiter away for {forMs} ms");
    }

    public void Heal() => awayUntilMs = 0;

    /// <summary>S10: the record is written anew with what it held; open requests are void.</summary>
    public void Rebuild()
    {
        if (recovering)
            return;
        Record = Record with { Incarnation = world.Random.Guid(), Epoch = Record.Epoch + 1, Granted = [] };
        Remember(Record);
        world.Say("fault", "the record is rebuilt as another incarnation");
    }

    /// <summary>Copies that an operator has declared to be the module.</summary>
    public long Declarations { get; private set; }

    /// <summary>An operator's word: the copy of this host is the module.</summary>
    public void Declare(SimHost host)
    {
        if (IsRestored)
            return;
        Declarations++;
        Record = Arbiter.Declare(Record, host.Name);
        world.Say("operator", $"declares the copy of {host.Name} to be the module, at epoch {Record.Epoch}");
        world.Truth.Declared(host);
    }

    public void Ask(SimHost host, RoleEffect.AskArbiter ask)
    {
        var request = World.ToArbiter(ask.Request);
        var life = host.Life;
        var answered = false;
        var fate = request.Change == ArbiterChange.Look ? RequestFate.Passes : FateOf?.Invoke(host, request) ?? RequestFate.Passes;
        // The runtime answers Unknown at the deadline; a late reply is handed on all the same.
        world.Schedule.After(ask.DeadlineMs, () =>
        {
            if (!answered)
                host.FeedIf(life, new RoleInput.ArbiterAnswered(new ArbiterAnswer(request.OperationId, ArbiterOutcome.Unknown, null, "no answer")));
        });
        if (!fate.RequestLost)
            Send(answer =>
            {
                if (fate.AnswerLost)
                    return;
                answered = true;
                host.FeedIf(life, new RoleInput.ArbiterAnswered(answer));
            });
        if (request.Change != ArbiterChange.Look && world.Random.Chance(world.ArbiterLossPerMille))
            world.Schedule.After(world.Random.Between(50, 8_000), () => Send(_ => { })); // A late duplicate.

        void Send(Action<ArbiterAnswer> reply)
        {
            if (!Reachable(host) || world.Random.Chance(world.ArbiterLossPerMille))
                return;
            var asked = generation; // A session ends with the process that served it, and what it has not delivered.
            var slow = world.Random.Chance(world.ArbiterLossPerMille) ? 3_000 : 0;
            world.Schedule.After(fate.LateMs + world.Random.Between(1, 20 + slow), () =>
            {
                if (world.Schedule.NowMs < awayUntilMs || recovering || generation != asked)
                    return;
                var answer = Decide(host, request);
                if (!world.Random.Chance(world.ArbiterLossPerMille))
                    world.Schedule.After(world.Random.Between(1, 20 + slow), () =>
                    {
                        if (Reachable(host) && generation == asked)
                            reply(answer);
                    });
            });
        }
    }

    private bool Reachable(SimHost host) => world.Schedule.NowMs >= awayUntilMs && world.Schedule.NowMs >= host.ArbiterCutUntilMs;

    private ArbiterAnswer Decide(SimHost host, ArbiterRequest request)
    {
        var before = Record;
        var asked = request;
        if (world.Sabotage == Sabotage.OlderEpochAccepted)
            asked = asked with { ExpectedEpoch = before.Epoch };
        var judged = before;
        if (world.Sabotage == Sabotage.PromoteOutdated && request.Change == ArbiterChange.Takeover)
            judged = before with { InSync = [.. before.Hosts] };
        var (decision, after) = Arbiter.Decide(judged, asked);
        if (ReferenceEquals(after, judged))
            after = before;
        Record = after;
        Remember(after);
        if (request.Change != ArbiterChange.Look)
            world.Say("arbiter", $"{request.By} {request.Change} at {request.ExpectedEpoch}: {(decision.Granted ? "granted" : "refused")}; epoch {after.Epoch}, primary {after.Primary}, in sync {string.Join(",", after.InSync)}");
        if (world.Sabotage == Sabotage.None)
            world.Truth.Decided(before, request, after);
        return new ArbiterAnswer(
            request.OperationId, decision.Granted ? ArbiterOutcome.Granted : ArbiterOutcome.Refused,
            new AuthorityRecord(after.Incarnation, after.Epoch, after.Primary, after.InSync) { Declared = after.Declared }, decision.Reason);
    }
}

/// <param name="LateMs">So much later it reaches the arbiter.</param>
/// <param name="RequestLost">It never does.</param>
/// <param name="AnswerLost">It is decided, and the asker does not hear of it.</param>
internal sealed record RequestFate(long LateMs = 0, bool RequestLost = false, bool AnswerLost = false)
{
    public static readonly RequestFate Passes = new();
    public static readonly RequestFate Lost = new(RequestLost: true);
}
