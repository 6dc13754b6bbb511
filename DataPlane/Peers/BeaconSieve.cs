using Pollux.DataPlane.Core.Roles;

namespace Pollux.DataPlane.Peers;

/// <summary>Beacons and answers travel over every network: the first to arrive counts, the others only show that their network works.</summary>
/// <remarks>
/// An answer goes back over every network that its beacon came by, also over one on which the beacon arrives after it was answered. That is
/// safe whenever it arrives: a lease counts from the sending time of the beacon that the answer names (rule S8). A beacon of an earlier
/// process must not come after one of its successor, as it may when networks differ in speed: a few former incarnations are remembered.
/// </remarks>
internal sealed class BeaconSieve
{
    /// <summary>Processes of the peer that may have left beacons on a slow network.</summary>
    private const int FormerMax = 4;

    private readonly Lock _gate = new();
    private readonly Dictionary<string, Came> _came = [];
    private readonly Dictionary<string, BeaconAnswer> _answers = [];

    private sealed class Came
    {
        public Guid Incarnation;
        public long Sequence;
        public BeaconAnswer? Answer;
        public readonly List<PeerConnection> By = [];
        public readonly Queue<Guid> Former = new();
    }

    /// <param name="answer">For a beacon that came before and is answered: what to send back on this connection too.</param>
    /// <returns>True: it is the first of its kind.</returns>
    /// <exception cref="InvalidDataException">The peer names too many modules.</exception>
    public bool IsNew(string module, Beacon beacon, PeerConnection by, out BeaconAnswer? answer)
    {
        answer = null;
        lock (_gate)
        {
            if (!_came.TryGetValue(module, out var came))
            {
                if (_came.Count >= PeerConnection.SlotsMax)
                    throw new InvalidDataException($"the peer names more than {PeerConnection.SlotsMax} modules");
                _came.Add(module, came = new Came { Incarnation = beacon.Incarnation });
            }

            if (came.Incarnation != beacon.Incarnation)
            {
                if (came.Former.Contains(beacon.Incarnation))
                    return false;
                if (came.Former.Count == FormerMax)
                    came.Former.Dequeue();
                came.Former.Enqueue(came.Incarnation);
                (came.Incarnation, came.Sequence) = (beacon.Incarnation, 0);
            }

            if (beacon.Sequence < came.Sequence)
                return false;
            var isNew = beacon.Sequence > came.Sequence;
            if (isNew)
            {
                (came.Sequence, came.Answer) = (beacon.Sequence, null);
                came.By.Clear();
            }

            if (!came.By.Contains(by))
                came.By.Add(by);
            answer = came.Answer;
            return isNew;
        }
    }

    /// <summary>The connections that the module's last beacon came by so far.</summary>
    public PeerConnection[] WaysOf(string module, BeaconAnswer answer)
    {
        lock (_gate)
        {
            if (!_came.TryGetValue(module, out var came))
                return [];
            if (answer.BeaconIncarnation == came.Incarnation && answer.BeaconSequence == came.Sequence)
                came.Answer = answer;
            return [.. came.By];
        }
    }

    /// <returns>True: neither this answer nor a later one of the same processes has come yet.</returns>
    public bool IsNew(string module, BeaconAnswer answer)
    {
        lock (_gate)
        {
            var known = _answers.TryGetValue(module, out var last);
            if (known && (last!.BeaconIncarnation, last.AnswererIncarnation) == (answer.BeaconIncarnation, answer.AnswererIncarnation)
                && answer.BeaconSequence <= last.BeaconSequence)
                return false;
            if (!known && _answers.Count >= PeerConnection.SlotsMax)
                throw new InvalidDataException($"the peer names more than {PeerConnection.SlotsMax} modules");
            _answers[module] = answer;
            return true;
        }
    }

    /// <summary>Nothing can go back over it any more.</summary>
    public void Ended(PeerConnection connection)
    {
        lock (_gate)
        {
            foreach (var came in _came.Values)
                came.By.Remove(connection);
        }
    }

    /// <summary>The peer is another host now.</summary>
    public void Clear()
    {
        lock (_gate)
        {
            _came.Clear();
            _answers.Clear();
        }
    }
}
