using System.Net.WebSockets;
using System.Text.Json;
using Pollux.HostProtocol;

namespace Pollux.DataPlane.Control;

/// <summary>Whole JSON messages over one WebSocket, bounded in size both ways. One reader and one writer at a time.</summary>
internal sealed class MessageChannel(WebSocket socket, int sendMs)
{
    private byte[] _buffer = new byte[16 * 1024];

    /// <exception cref="InvalidDataException">The message is over the size limit; nothing was sent.</exception>
    public async Task SendAsync(HostMessage message, CancellationToken cancel)
    {
        var bytes = JsonSerializer.SerializeToUtf8Bytes(message, HostProtocolJson.Default.HostMessage);
        if (bytes.Length > HostProtocolLimits.MessageBytesMax)
            throw new InvalidDataException($"a message of {bytes.Length} bytes is over the limit of {HostProtocolLimits.MessageBytesMax}");
        using var deadline = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        deadline.CancelAfter(sendMs);
        await socket.SendAsync(bytes, WebSocketMessageType.Text, endOfMessage: true, deadline.Token).ConfigureAwait(false);
    }

    /// <returns>Null when the other side closed.</returns>
    /// <exception cref="InvalidDataException">Too large, not text, or not a message of this protocol.</exception>
    public async Task<GatewayMessage?> ReceiveAsync(CancellationToken cancel)
    {
        var length = 0;
        while (true)
        {
            var part = await socket.ReceiveAsync(_buffer.AsMemory(length), cancel).ConfigureAwait(false);
            if (part.MessageType == WebSocketMessageType.Close)
                return null;
            if (part.MessageType != WebSocketMessageType.Text)
                throw new InvalidDataException("the server sent a binary message");
            length += part.Count;
            if (part.EndOfMessage)
                break;
            if (length < _buffer.Length)
                continue;
            if (length >= HostProtocolLimits.MessageBytesMax)
                throw new InvalidDataException($"the server sent a message over the limit of {HostProtocolLimits.MessageBytesMax} bytes");
            Array.Resize(ref _buffer, Math.Min(_buffer.Length * 2, HostProtocolLimits.MessageBytesMax));
        }

        try
        {
            return JsonSerializer.Deserialize(_buffer.AsSpan(0, length), HostProtocolJson.Default.GatewayMessage)
                ?? throw new InvalidDataException("the server sent an empty message");
        }
        catch (Exception e) when (e is JsonException or NotSupportedException)
        {
            throw new InvalidDataException($"the server sent a message that is not of protocol {HostProtocolLimits.Version}: {e.Message}", e);
        }
    }
}
