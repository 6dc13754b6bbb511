using System.Buffers.Binary;
using System.Text.Json;
using Pollux.DataPlane.Telemetry;

namespace Pollux.DataPlane.Peers;

/// <summary>One authenticated connection to the peer, dialled or accepted. One loop reads, one writes.</summary>
/// <remarks>What waits to be written is one message per slot (a module, or the ping): a newer one replaces the older, so that a slow
/// connection carries few and fresh messages, never a backlog of stale beacons.</remarks>
internal sealed class PeerConnection : IAsyncDisposable
{
    private const string PingSlot = "";

    /// <summary>Modules are limited by policy, and slots by this: a flood of invented names is refused.</summary>
    public const int SlotsMax = 1024;

    private readonly Stream _stream;
    private readonly Lock _gate = new();
    private readonly Dictionary<string, PeerMessage> _slots = [];
    private readonly SemaphoreSlim _wake = new(0, 1);
    private readonly byte[] _sendBuffer = new byte[PeerMessage.LengthBytes + PeerMessage.BytesMax];
    private readonly byte[] _receiveBuffer = new byte[PeerMessage.LengthBytes + PeerMessage.BytesMax];
    private long _heardMs = BootClock.NowMs;

    public PeerConnection(Stream stream) => _stream = stream;

    /// <summary>When the last whole message arrived (<see cref="BootClock"/>).</summary>
    public long HeardMs => Volatile.Read(ref _heardMs);

    public void Put(string module, PeerMessage message) => Set(module, message);

    public void PutPing(PeerMessage message) => Set(PingSlot, message);

    /// <summary>Writes what is put until the connection breaks or the token is cancelled.</summary>
    public async Task WriteAsync(CancellationToken cancel)
    {
        var batch = new List<PeerMessage>();
        while (true)
        {
            await _wake.WaitAsync(cancel).ConfigureAwait(false);
            lock (_gate)
            {
                batch.AddRange(_slots.Values);
                _slots.Clear();
            }

            foreach (var message in batch)
                await WriteOneAsync(message, cancel).ConfigureAwait(false);
            batch.Clear();
        }
    }

    public async Task WriteOneAsync(PeerMessage message, CancellationToken cancel)
    {
        var json = JsonSerializer.SerializeToUtf8Bytes(message, PeerJson.Default.PeerMessage);
        if (json.Length > PeerMessage.BytesMax)
            throw new InvalidDataException($"a message of {json.Length} bytes is over the limit of {PeerMessage.BytesMax}");
        BinaryPrimitives.WriteInt32LittleEndian(_sendBuffer, json.Length);
        json.CopyTo(_sendBuffer, PeerMessage.LengthBytes);
        await _stream.WriteAsync(_sendBuffer.AsMemory(0, PeerMessage.LengthBytes + json.Length), cancel).ConfigureAwait(false);
    }

    /// <exception cref="EndOfStreamException">The peer closed.</exception>
    /// <exception cref="InvalidDataException">Too large, or no message of this protocol.</exception>
    public async ValueTask<PeerMessage> ReadAsync(CancellationToken cancel)
    {
        await _stream.ReadExactlyAsync(_receiveBuffer.AsMemory(0, PeerMessage.LengthBytes), cancel).ConfigureAwait(false);
        var length = BinaryPrimitives.ReadInt32LittleEndian(_receiveBuffer);
        if (length is <= 0 or > PeerMessage.BytesMax)
            throw new InvalidDataException($"the peer sent a message of {length} bytes; the limit is {PeerMessage.BytesMax}");
        await _stream.ReadExactlyAsync(_receiveBuffer.AsMemory(0, length), cancel).ConfigureAwait(false);
        PeerMessage message;
        try
        {
            message = JsonSerializer.Deserialize(_receiveBuffer.AsSpan(0, length), PeerJson.Default.PeerMessage)
                ?? throw new InvalidDataException("the peer sent an empty message");
        }
        catch (JsonException e)
        {
            throw new InvalidDataException($"the peer sent a message that is not of protocol {PeerMessage.ProtocolVersion}: {e.Message}", e);
        }

        Volatile.Write(ref _heardMs, BootClock.NowMs);
        return message;
    }

    public async ValueTask DisposeAsync() => await _stream.DisposeAsync().ConfigureAwait(false);

    private void Set(string slot, PeerMessage message)
    {
        lock (_gate)
        {
            if (_slots.Count >= SlotsMax && !_slots.ContainsKey(slot))
                return;
            _slots[slot] = message;
            if (_wake.CurrentCount == 0)
                _wake.Release();
        }
    }
}
