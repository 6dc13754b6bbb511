using Pollux.DataPlane.Core.Roles;

namespace Pollux.DataPlane.Modules;

/// <summary>The one way into a role machine: many producers, one consumer, bounded.</summary>
/// <remarks>Beacons, answers to beacons and the operator's wish are levels: a newer one replaces the one that still waits, so a slow
/// consumer sees few and fresh ones. Everything else is an event that must not be lost; those queue up to <see cref="EventsMax"/>.</remarks>
internal sealed class InputQueue
{
    /// <summary>Events of a busy minute; more means that the consumer stands still.</summary>
    private const int EventsMax = 1024;

    /// <summary>How long a producer waits for room. A consumer that takes nothing for so long is a defect that must not go on holding
    /// leases: the process ends, and the guard with the VMs.</summary>
    private static readonly TimeSpan RoomWaitMax = TimeSpan.FromSeconds(10);

    private readonly object _gate = new();
    private readonly Queue<RoleInput> _events = new();
    private RoleInput? _answer;
    private RoleInput? _beacon;
    private RoleInput? _desired;
    private bool _closed;

    public void Put(RoleInput input)
    {
        lock (_gate)
        {
            if (_closed)
                return;
            switch (input)
            {
                case RoleInput.BeaconAnswered:
                    _answer = input;
                    break;
                case RoleInput.BeaconReceived:
                    _beacon = input;
                    break;
                case RoleInput.Desired:
                    _desired = input;
                    break;
                default:
                    while (_events.Count >= EventsMax && !_closed)
                    {
                        if (!Monitor.Wait(_gate, RoomWaitMax))
                            Environment.FailFast($"A role machine took none of {EventsMax} inputs for {RoomWaitMax.TotalSeconds} s.");
                    }

                    _events.Enqueue(input);
                    break;
            }

            Monitor.PulseAll(_gate);
        }
    }

    /// <summary>The next input, or a tick when <paramref name="untilMs"/> is reached; null once the queue is closed.</summary>
    public RoleInput? Take(long untilMs, Func<long> nowMs)
    {
        lock (_gate)
        {
            while (!_closed)
            {
                // Answers first: they renew the lease.
                var next = Take(ref _answer) ?? (_events.Count > 0 ? _events.Dequeue() : Take(ref _beacon) ?? Take(ref _desired));
                if (next is not null)
                {
                    Monitor.PulseAll(_gate);
                    return next;
                }

                var waitMs = untilMs - nowMs();
                if (waitMs <= 0)
                    return new RoleInput.Tick();
                Monitor.Wait(_gate, (int)Math.Min(waitMs, 60_000));
            }

            return null;
        }
    }

    public void Close()
    {
        lock (_gate)
        {
            _closed = true;
            Monitor.PulseAll(_gate);
        }
    }

    private static RoleInput? Take(ref RoleInput? slot)
    {
        var input = slot;
        slot = null;
        return input;
    }
}
