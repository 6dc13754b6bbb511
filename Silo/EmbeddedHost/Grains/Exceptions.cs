namespace Orleans.Runtime
{
    /// <summary>Base of the errors that the host itself raises.</summary>
    [GenerateSerializer]
    public class OrleansException : Exception
    {
        public OrleansException()
            : base("Unexpected error.")
        {
        }

        public OrleansException(string message)
            : base(message)
        {
        }

        public OrleansException(string message, Exception innerException)
            : base(message, innerException)
        {
        }
    }

    /// <summary>The grain classes, contracts or options are not usable; says which and why.</summary>
    [GenerateSerializer]
    public class OrleansConfigurationException : Exception
    {
        public OrleansConfigurationException(string message)
            : base(message)
        {
        }

        public OrleansConfigurationException(string message, Exception innerException)
            : base(message, innerException)
        {
        }
    }

    /// <summary>The call was not taken: it has had no effect.</summary>
    [GenerateSerializer]
    public class OrleansMessageRejectionException : OrleansException
    {
        public OrleansMessageRejectionException(string message)
            : base(message)
        {
        }

        public OrleansMessageRejectionException(string message, Exception innerException)
            : base(message, innerException)
        {
        }
    }

    /// <summary>The host has not started, or is stopping.</summary>
    [GenerateSerializer]
    public sealed class SiloUnavailableException(string message) : OrleansMessageRejectionException(message);

    /// <summary>A bounded queue is full: the call was not taken.</summary>
    [GenerateSerializer]
    public sealed class LimitExceededException : OrleansException
    {
        public LimitExceededException(string message)
            : base(message)
        {
        }

        public LimitExceededException(string limitName, int current, int threshold, object extraInfo)
            : base($"Limit exceeded {limitName} Current={current} Threshold={threshold} {extraInfo}")
        {
        }
    }

    /// <summary>The object behind an observer reference is gone.</summary>
    [GenerateSerializer]
    public sealed class ClientNotAvailableException : OrleansException
    {
        internal ClientNotAvailableException(string message)
            : base(message)
        {
        }
    }
}

namespace Orleans.Serialization
{
    /// <summary>Base of the errors of serialization.</summary>
    [GenerateSerializer]
    public class SerializerException : Exception
    {
        public SerializerException(string message)
            : base(message)
        {
        }

        public SerializerException(string message, Exception innerException)
            : base(message, innerException)
        {
        }
    }

    /// <summary>A value of a type without <c>[GenerateSerializer]</c> was to cross a grain call.</summary>
    [GenerateSerializer]
    public sealed class CodecNotFoundException(string message) : SerializerException(message);
}
